package signaling

import (
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// control passes on what a moderator asks of others, such as to be mute. From
// others it is dropped without a word, as clients expect.
func (s *Session) control(m *wire.ClientMessage) {
	seat := s.currentSeat()
	if seat == nil {
		s.fail(m.ID, wire.ErrNotInRoom)
		return
	}
	if !seat.allowed(backend.PermissionControl) {
		return
	}
	// The permission is one for this room: it reaches nobody outside.
	to, data := m.Control.Recipient, m.Control.Data
	switch to.Type {
	case wire.ToSession:
		if !seat.replica.has(to.SessionID) {
			return
		}
	case wire.ToUser:
		for _, id := range seat.replica.sessionsOf(to.UserID) {
			if id != s.id {
				say := s.saying(to.Type, data, true)
				say.ToSession = string(id)
				seat.replica.say(say)
			}
		}
		return
	}
	if err := s.speak(to, data, true, ""); err != nil {
		s.fail(m.ID, err)
	}
}
