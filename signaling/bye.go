package signaling

import "github.com/talkd/talkd/signaling/wire"

// bye ends the session as the client wishes.
func (s *Session) bye(m *wire.ClientMessage) { s.finish(wire.ByeMessage(m.ID, ""), true, 0) }

// endQuietly ends the session without a word of the protocol, for a node that
// stops: to its client that is an interruption like any other.
func (s *Session) endQuietly() { s.finish(wire.ServerMessage{}, false, 0) }
