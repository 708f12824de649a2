package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// movesAtOnce rooms of a node that died or is left get new homes in one entry.
const movesAtOnce = store.MaxAssignedNames / (store.MaxRoomName + store.MaxBackendID)

// reconcile makes what was decided true: rooms have homes that answer, nodes
// that are to be left have no rooms.
func (c *Cluster) reconcile(ctx context.Context) {
	now := time.Now()
	for node := range c.state.HomeCounts() {
		state, _ := c.seen(node, now)
		if state == StateDraining {
			c.moveRooms(ctx, node, store.ReasonDrain)
		}
		if node == c.Self() {
			continue
		}
		after := placementAnewAlive
		if state == StateDead {
			after = placementAnew
		}
		if c.leading.claim(node, after, now) {
			c.moveRooms(ctx, node, store.ReasonAnew)
			c.leading.unclaim(node)
		}
	}
}

// moveRooms gives the rooms of a node that is silent or to be left new homes.
func (c *Cluster) moveRooms(ctx context.Context, from store.NodeID, reason store.Reason) {
	rooms := c.state.HomesOf(from)
	// People who are on a node that is to be left are better there than on one
	// that is full; a room without a home takes what there is.
	takes := func(m Member) bool { return m.ID != from && m.able() && (reason == store.ReasonAnew || m.TakesRooms()) }
	if !slices.ContainsFunc(c.candidates(time.Now()), takes) {
		c.metrics.placements.WithLabelValues("no_node").Inc()
		c.log.Debug("rooms stay where they are", keyPeer, from, "reason", reason, "error", ErrNoNode)
		return
	}
	c.log.Warn("moving the rooms of a node", keyPeer, from, "reason", reason, "rooms", len(rooms))
	c.placing.changed() // the node has just become one that is left
	var hint Hint
	if n, ok := c.state.Node(from); ok {
		hint.Region = n.Region
	}
	for batch := range slices.Chunk(rooms, movesAtOnce) {
		if ctx.Err() != nil {
			return
		}
		moves := make([]store.Assignment, 0, len(batch))
		for _, room := range batch {
			home, ok := c.state.Home(room)
			if !ok || home.Node != from {
				continue
			}
			to, err := c.chooseAnew(room, hint)
			if err != nil || to == from {
				c.metrics.placements.WithLabelValues("no_node").Inc()
				c.log.Warn("room stays where it is", keyRoom, room.String(), "error", err)
				continue
			}
			moves = append(moves, store.Assignment{Room: room, Node: to, PrevEpoch: home.Epoch, Reason: reason})
		}
		if len(moves) == 0 {
			continue
		}
		result, _, err := c.commit(store.NewAssignHomes(time.Now(), moves))
		if err != nil {
			c.log.Warn("moving rooms", keyPeer, from, "error", err)
			return // the next round, or the next leader, goes on
		}
		for _, a := range result.Homes {
			if a.Err == nil {
				c.metrics.placements.WithLabelValues(string(reason)).Inc()
			}
		}
	}
}

// Place gives a room's home. If it has none, the leader decides on one, near
// the hint if nothing speaks against it.
func (c *Cluster) Place(ctx context.Context, room store.RoomID, hint Hint) (store.Home, error) {
	if err := room.Validate(); err != nil {
		return store.Home{}, err
	}
	if home, ok := c.Lookup(room); ok {
		return home, nil
	}
	request := &clusterpb.PlaceRequest{
		Backend: string(room.Backend), Room: room.Name, HintNode: string(hint.Node), HintRegion: hint.Region,
	}
	// Asking twice is harmless: the second time the room has a home.
	return c.homeFromLeader(ctx,
		func(ctx context.Context) *clusterpb.PlaceReply { return c.servePlace(ctx, request) },
		func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.PlaceReply, error) {
			return l.Place(ctx, request)
		})
}

// Find gives a room's home, also where this node has not heard of it yet: the leader
// knows. It decides nothing, and gives store.ErrNotFound for a room without a home.
func (c *Cluster) Find(ctx context.Context, room store.RoomID) (store.Home, error) {
	if err := room.Validate(); err != nil {
		return store.Home{}, err
	}
	if home, ok := c.Lookup(room); ok {
		return home, nil
	}
	request := &clusterpb.PlaceRequest{Backend: string(room.Backend), Room: room.Name}
	return c.homeFromLeader(ctx,
		func(context.Context) *clusterpb.PlaceReply { return c.serveHome(request) },
		func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.PlaceReply, error) {
			reply, err := l.Home(ctx, request)
			if status.Code(err) == codes.Unimplemented {
				return notFound(room), nil // its version does not tell
			}
			return reply, err
		})
}

// serveHome is the leader's side.
func (c *Cluster) serveHome(q *clusterpb.PlaceRequest) *clusterpb.PlaceReply {
	if !c.leading.acts() {
		return c.notLeader()
	}
	room := store.RoomID{Backend: store.BackendID(q.GetBackend()), Name: q.GetRoom()}
	home, ok := c.state.Home(room)
	if !ok {
		return notFound(room)
	}
	return c.placed(home, c.replica.index())
}

func notFound(room store.RoomID) *clusterpb.PlaceReply {
	return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_NOT_FOUND, Detail: "room " + room.String() + " has no home"}
}

// homeFromLeader asks the leader for a home, and waits until this node knows
// it too.
func (c *Cluster) homeFromLeader(ctx context.Context,
	local func(context.Context) *clusterpb.PlaceReply, remote func(context.Context, clusterpb.ClusterClient) (*clusterpb.PlaceReply, error),
) (store.Home, error) {
	reply, err := atLeader(ctx, c, idempotent, local, remote)
	if err != nil {
		return store.Home{}, err
	}
	home, err := decodeJSON[store.Home](reply.GetHome())
	if err != nil {
		return store.Home{}, err
	}
	if err := c.replica.wait(ctx, reply.GetIndex()); err != nil {
		return store.Home{}, err
	}
	return home, nil
}

// servePlace is the leader's side.
func (c *Cluster) servePlace(ctx context.Context, q *clusterpb.PlaceRequest) *clusterpb.PlaceReply {
	if !c.leading.acts() {
		return c.notLeader()
	}
	room := store.RoomID{Backend: store.BackendID(q.GetBackend()), Name: q.GetRoom()}
	if err := room.Validate(); err != nil {
		return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: err.Error()}
	}
	hint := Hint{Node: store.NodeID(q.GetHintNode()), Region: q.GetHintRegion()}
	r := c.place(ctx, room, hint)
	if r.err == nil {
		c.metrics.placements.WithLabelValues(string(r.home.Reason)).Inc()
		return c.placed(r.home, r.index)
	}
	return c.notPlaced(r.err)
}

// notPlaced is the answer that a room has no home, or no new one.
func (c *Cluster) notPlaced(err error) *clusterpb.PlaceReply {
	reply := &clusterpb.PlaceReply{Status: statusOf(err), LeaderId: string(c.leader()), Detail: err.Error()}
	switch reply.Status {
	case clusterpb.Status_STATUS_FULL, clusterpb.Status_STATUS_NO_NODE:
		c.metrics.placements.WithLabelValues("no_node").Inc()
	default:
	}
	return reply
}

// placed is the answer that a room has this home since an index at the latest.
func (c *Cluster) placed(home store.Home, index uint64) *clusterpb.PlaceReply {
	data, err := json.Marshal(home)
	if err != nil {
		return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_UNKNOWN, Detail: err.Error()}
	}
	return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_OK, LeaderId: string(c.Self()), Index: index, Home: data}
}

func (c *Cluster) notLeader() *clusterpb.PlaceReply {
	return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_NOT_LEADER, LeaderId: string(c.leader())}
}
