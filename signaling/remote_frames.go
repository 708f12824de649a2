package signaling

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// What the frames on the streams between nodes mean: they are for the home of a
// room, or for an edge.

// toHome hands a frame to a node as the home of the room. It is false if the
// frame is lost.
func (h *Hub) toHome(node store.NodeID, f *signalpb.Frame) bool {
	if node != h.deps.Self {
		p := h.peer(node)
		return p != nil && p.send(f)
	}
	// The caller holds a replica: the answer must not come back to it at once.
	answer, err := h.fromEdge(node, f)
	if answer != nil && err == nil {
		h.background(func() { h.toEdge(node, answer) })
	}
	return err == nil
}

// toEdge hands a frame to a node as an edge of the room.
func (h *Hub) toEdge(node store.NodeID, f *signalpb.Frame) bool {
	if node != h.deps.Self {
		p := h.peer(node)
		return p != nil && p.send(f)
	}
	id, err := roomID(f.GetRoom())
	if err != nil {
		return false
	}
	if r := h.replica(id); r != nil {
		r.receive(node, f)
	}
	return true
}

// fromEdge takes a frame for a room whose home this node should be. The answer
// is a refusal, if there is one; an error means that the frame is lost, errFull
// with a refusal that says so.
func (h *Hub) fromEdge(from store.NodeID, f *signalpb.Frame) (answer *signalpb.Frame, err error) {
	id, err := roomID(f.GetRoom())
	if err != nil {
		return nil, err
	}
	if refused := f.GetRefused(); refused != nil {
		if r := h.room(id); r != nil && f.GetEpoch() > r.home.Epoch && refused.GetReason() == signalpb.Refused_REASON_STALE_EPOCH {
			return nil, r.receive(from, f)
		}
		return nil, nil
	}
	r, err := h.homeRoom(id, f.GetEpoch())
	if err == nil {
		if err = r.receive(from, f); err == nil {
			return nil, nil
		}
	}
	if errors.Is(err, errFull) {
		h.metrics.overflow("room")
		return refusal(id, f.GetEpoch(), sessionOf(f), signalpb.Refused_REASON_FULL), err
	}
	epoch := f.GetEpoch()
	if home, ok := h.deps.Places.Lookup(id); ok {
		epoch = max(epoch, home.Epoch)
	}
	return refusal(id, epoch, sessionOf(f), reasonOf(err)), nil
}

// receive takes a frame of a peer. An error ends the stream.
func (h *Hub) receive(from store.NodeID, f *signalpb.Frame) error {
	switch body := f.GetBody().(type) {
	case *signalpb.Frame_User:
		h.heardOfUsers(from, body.User)
	case *signalpb.Frame_At:
		h.heardAt(from, body.At)
	case *signalpb.Frame_Direct:
		h.direct(body.Direct, from)
	case *signalpb.Frame_Census:
		h.heardCensus(from, body.Census)
	case *signalpb.Frame_Attach, *signalpb.Frame_Join, *signalpb.Frame_Leave, *signalpb.Frame_Announce,
		*signalpb.Frame_Withdraw, *signalpb.Frame_Say, *signalpb.Frame_Takeover, *signalpb.Frame_Watch, *signalpb.Frame_State:
		answer, err := h.fromEdge(from, f)
		if err != nil && !errors.Is(err, errFull) {
			return err // if one room has too much to do, the others go on
		}
		if answer != nil {
			h.toEdge(from, answer)
		}
	case nil:
		if f.GetRoom() != nil {
			return h.fromHome(from, f) // it counts: it tells what was heard, or something of a newer version
		}
		// The greeting, or a beat.
	default:
		return h.fromHome(from, f)
	}
	return nil
}

// fromHome takes a frame for the replica. A refusal may also be for the room.
func (h *Hub) fromHome(from store.NodeID, f *signalpb.Frame) error {
	id, err := roomID(f.GetRoom())
	if err != nil {
		return status.Error(codes.InvalidArgument, "not a room")
	}
	if f.GetRefused() != nil {
		if _, err := h.fromEdge(from, f); err != nil && !errors.Is(err, errFull) {
			return err // a full room hears of its successor with the next frame
		}
	}
	if r := h.replica(id); r != nil {
		r.receive(from, f)
	}
	return nil
}
