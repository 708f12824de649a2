package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// movesAtOnce bounds commands under way when a node with many rooms dies.
const movesAtOnce = 64

// reconcile makes what was decided true: rooms have homes that answer, nodes
// that are to be left have no rooms.
func (c *Cluster) reconcile(ctx context.Context, r *raft.Raft) {
	now := time.Now()
	for node := range c.state.HomeCounts() {
		state, _ := c.seen(node, now)
		if state == StateDraining {
			c.moveRooms(ctx, r, node, store.ReasonDrain)
		}
		if node == c.Self() {
			continue
		}
		after := placementAnewAlive
		if state == StateDead {
			after = placementAnew
		}
		if c.leading.claim(node, after, now) {
			c.moveRooms(ctx, r, node, store.ReasonAnew)
			c.leading.unclaim(node)
		}
	}
}

// moveRooms gives the rooms of a node that is silent or to be left new homes.
func (c *Cluster) moveRooms(ctx context.Context, r *raft.Raft, from store.NodeID, reason store.Reason) {
	rooms := c.state.HomesOf(from)
	if !slices.ContainsFunc(c.candidates(time.Now()), func(m Candidate) bool { return m.ID != from && m.fit() }) {
		c.metrics.placements.WithLabelValues("no_node").Inc()
		c.log.Debug("rooms stay where they are", keyPeer, from, "reason", reason, "error", ErrNoNode)
		return
	}
	c.log.Warn("moving the rooms of a node", keyPeer, from, "reason", reason, "rooms", len(rooms))
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
			to, err := c.chooseAnew(room, from)
			if err != nil {
				c.metrics.placements.WithLabelValues("no_node").Inc()
				c.log.Warn("room stays where it is", keyRoom, room.String(), "error", err)
				continue
			}
			moves = append(moves, store.Assignment{Room: room, Node: to, PrevEpoch: home.Epoch, Reason: reason})
		}
		if len(moves) == 0 {
			continue
		}
		cmd := store.NewAssignHomes(time.Now(), moves)
		data, err := cmd.Encode()
		if err != nil {
			c.log.Error("rooms cannot be moved", keyPeer, from, "error", err)
			continue
		}
		result, _, err := c.apply(cmd, data)
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

// chooseAnew prefers nodes where the room's participants are.
func (c *Cluster) chooseAnew(room store.RoomID, not store.NodeID) (store.NodeID, error) {
	candidates := slices.DeleteFunc(c.candidates(time.Now()), func(m Candidate) bool { return m.ID == not })
	var hint Hint
	if c.config.Prefer != nil {
		preferred := c.config.Prefer(room)
		near := slices.DeleteFunc(slices.Clone(candidates), func(m Candidate) bool { return !slices.Contains(preferred, m.ID) })
		if id, err := c.choose(near, room, hint); err == nil {
			return id, nil
		}
	}
	return c.choose(candidates, room, hint)
}

// placements are the decisions of the last moments, whose load nobody has
// measured yet.
type placements struct {
	mu     sync.Mutex // guards recent, and orders decisions
	recent []placement
}

type placement struct {
	node store.NodeID
	at   time.Time
}

func newPlacements() *placements { return new(placements) }

func (p *placements) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = nil
}

// choose decides, and counts the decision in those that follow.
func (c *Cluster) choose(candidates []Candidate, room store.RoomID, hint Hint) (store.NodeID, error) {
	p, now := c.placing, time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	settled, _ := slices.BinarySearchFunc(p.recent, now.Add(-loadSettle), func(r placement, t time.Time) int { return r.at.Compare(t) })
	p.recent = p.recent[settled:]
	fresh := make(map[store.NodeID]int)
	for _, r := range p.recent {
		fresh[r.node]++
	}
	for i := range candidates {
		candidates[i].Fresh = fresh[candidates[i].ID]
	}
	id, err := Place(candidates, room, hint)
	if err == nil {
		p.recent = append(p.recent, placement{node: id, at: now})
	}
	return id, err
}

// candidates are all nodes as the leader sees them. One that has renewed no
// lease lately could not act as a home.
func (c *Cluster) candidates(now time.Time) []Candidate {
	nodes, rooms := c.state.Nodes(), c.state.HomeCounts()
	all := make([]Candidate, 0, len(nodes))
	for _, n := range nodes {
		state, load := c.seen(n.ID, now)
		if state == StateAlive && c.leading.silence(n.ID, now) > lease {
			state = StateSuspect
		}
		all = append(all, Candidate{ID: n.ID, Region: n.Region, State: state, Roles: n.Roles, Load: load, Rooms: rooms[n.ID]})
	}
	return all
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
	for {
		index := c.replica.index()
		if home, ok := c.state.Home(room); ok {
			return c.placed(home, max(index, c.replica.index()))
		}
		hint := Hint{Node: store.NodeID(q.GetHintNode()), Region: q.GetHintRegion()}
		node, err := c.choose(c.candidates(time.Now()), room, hint)
		if err != nil {
			c.metrics.placements.WithLabelValues("no_node").Inc()
			return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_NO_NODE, Detail: err.Error()}
		}
		if reply := c.assign(ctx, store.NewAssignHome(time.Now(), room, node, 0, store.ReasonNew)); reply != nil {
			return reply
		}
	}
}

// assign commits one assignment as the leader. nil: somebody else was quicker,
// look again.
func (c *Cluster) assign(ctx context.Context, cmd store.Command) *clusterpb.PlaceReply {
	data, err := cmd.Encode()
	if err != nil {
		return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: err.Error()}
	}
	result, index, err := c.apply(cmd, data)
	switch {
	case err != nil:
		return &clusterpb.PlaceReply{Status: statusOf(err), LeaderId: string(c.leader()), Detail: err.Error()}
	case result.Err == nil:
		c.metrics.placements.WithLabelValues(string(result.Home.Reason)).Inc()
		return c.placed(result.Home, index)
	case errors.Is(result.Err, store.ErrStaleEpoch) && ctx.Err() == nil:
		return nil
	}
	return &clusterpb.PlaceReply{Status: clusterpb.Status_STATUS_UNKNOWN, Detail: result.Err.Error()}
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
