package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// Move makes a node the home of a room. It does nothing when the node is the
// home already. ErrUnfit says why the node cannot be; store.ErrNotFound that
// the room has no home, so that there is nothing to move.
func (c *Cluster) Move(ctx context.Context, room store.RoomID, to store.NodeID) (store.Home, error) {
	if err := room.Validate(); err != nil {
		return store.Home{}, err
	}
	request := &clusterpb.MoveRequest{Backend: string(room.Backend), Room: room.Name, To: string(to)}
	// Asking twice is harmless: the second time the node is the home.
	return c.homeFromLeader(ctx,
		func(ctx context.Context) *clusterpb.PlaceReply { return c.serveMove(ctx, request) },
		func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.PlaceReply, error) {
			return l.Move(ctx, request)
		})
}

// Drain says that rooms and people should leave a node, or may come again. The
// leader moves the rooms; nobody waits here until they are gone.
func (c *Cluster) Drain(ctx context.Context, node store.NodeID, on bool) error {
	_, err := c.Propose(ctx, store.NewSetDrain(time.Now(), node, on, drainAsked))
	return err
}

// drainAsked is the reason of a drain that somebody asked for.
const drainAsked = "operator"

// serveMove is the leader's side.
func (c *Cluster) serveMove(ctx context.Context, q *clusterpb.MoveRequest) *clusterpb.PlaceReply {
	if !c.leading.acts() {
		return c.notLeader()
	}
	room := store.RoomID{Backend: store.BackendID(q.GetBackend()), Name: q.GetRoom()}
	if err := room.Validate(); err != nil {
		return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: err.Error()}
	}
	to := store.NodeID(q.GetTo())
	for {
		home, ok := c.state.Home(room)
		switch {
		case !ok:
			return notFound(room)
		case home.Node == to:
			return c.placed(home, c.replica.index())
		}
		if why := c.unfit(to); why != "" {
			return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_UNFIT, Detail: why}
		}
		result, index, err := c.commit(store.NewAssignHome(time.Now(), room, to, home.Epoch, store.ReasonMove))
		switch {
		case err == nil:
			c.metrics.placements.WithLabelValues(string(store.ReasonMove)).Inc()
			return c.placed(result.Home, index)
		case !errors.Is(err, store.ErrStaleEpoch) || ctx.Err() != nil:
			return c.notPlaced(err)
		} // stale: somebody else was quicker
	}
}

// unfit says why a node can be no home, "" if it can.
func (c *Cluster) unfit(node store.NodeID) string {
	for _, m := range c.candidates(time.Now()) {
		if m.ID == node {
			if why := m.unfit(); why != "" {
				return fmt.Sprintf("%s %s", node, why)
			}
			return ""
		}
	}
	return fmt.Sprintf("there is no node %.64q", string(node))
}
