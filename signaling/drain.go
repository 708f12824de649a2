package signaling

import (
	"context"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// drainStep is how often it is looked who is left.
const drainStep = 50 * time.Millisecond

// Left is what a drain did not move: sessions in rooms, and rooms whose home
// this node is.
type Left struct{ Sessions, Rooms int }

// Drain sends the sessions that are in rooms to other nodes, as far as their
// clients can move, before this node stops. It returns when nobody is left and no
// room has its home here, when no other node could take them, or when ctx ends.
// The caller has told the cluster that this node is draining, so that the rooms
// get other homes.
func (h *Hub) Drain(ctx context.Context) Left {
	deadline, _ := ctx.Deadline()
	h.moves.stop(deadline)
	h.sendAll()
	step := time.NewTicker(drainStep)
	defer step.Stop()
	for {
		left := h.left()
		if _, hope := h.refuges(); left == (Left{}) || !hope {
			return left
		}
		select {
		case <-step.C:
		case <-ctx.Done():
			return left
		case <-h.ctx.Done():
			return left
		}
	}
}

// left counts what is still here, with the media of those who have just gone, as
// those who listen may still need them.
func (h *Hub) left() Left {
	h.mu.Lock()
	sessions, left := values(h.sessions), Left{Sessions: h.lingering, Rooms: len(h.rooms)}
	h.mu.Unlock()
	for _, s := range sessions {
		if s.currentSeat() != nil {
			left.Sessions++
		}
	}
	return left
}

// drainIfTold follows what the cluster says of this node: it may be drained and
// keep running.
func (h *Hub) drainIfTold() {
	for _, n := range h.deps.Nodes.Nodes() {
		if n.ID == h.deps.Self {
			h.moves.drain(n.Draining)
		}
	}
}

// sendAll asks all who can to go to other nodes, while this one is draining.
// Without a node to go to they are asked when there is one.
func (h *Hub) sendAll() {
	if _, draining := h.moves.draining(); !draining {
		return
	}
	if refuges, _ := h.refuges(); len(refuges) == 0 {
		return
	}
	h.mu.Lock()
	sessions := values(h.sessions)
	h.mu.Unlock()
	h.moves.add(wire.MoveDrain, movable(sessions)...)
}

// followHome asks all of a room who can to follow its home, which was here.
func (h *Hub) followHome(id store.RoomID, why store.Reason) {
	r := h.replica(id)
	reason, known := map[store.Reason]string{store.ReasonMove: wire.MoveRoom, store.ReasonDrain: wire.MoveDrain}[why]
	if r == nil || !known {
		return
	}
	r.mu.Lock()
	local := values(r.local)
	r.mu.Unlock()
	h.moves.add(reason, movable(local)...)
}

func movable(sessions []*Session) []*Session {
	now := time.Now()
	return slices.DeleteFunc(sessions, func(s *Session) bool { return !s.mayDepart(now) })
}
