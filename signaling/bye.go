package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/wire"
)

// bye ends the session as the client wishes.
func (s *Session) bye(m *wire.ClientMessage) { s.finish(wire.ByeMessage(m.ID, ""), true, 0) }

// endQuietly ends the session without a word of the protocol, for a node that
// stops: to its client that is an interruption like any other. One that goes on
// with its session elsewhere has not left its room: the room gives it the time to
// come back, as if this node were dead.
func (s *Session) endQuietly() {
	if slices.Contains(s.who.features, wire.ClientResumeMedia) && !s.who.stays() && s.hub.others() {
		s.mu.Lock()
		s.seat = nil
		s.mu.Unlock()
	}
	s.finish(wire.ServerMessage{}, false, 0)
}

// others tells whether there are other nodes that clients may go to.
func (h *Hub) others() bool {
	return slices.ContainsFunc(h.deps.Nodes.Nodes(), func(n Node) bool { return n.ID != h.deps.Self && n.Alive && n.URL != "" })
}
