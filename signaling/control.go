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
	to := []wire.Recipient{m.Control.Recipient}
	switch m.Control.Recipient.Type {
	case wire.ToSession:
		if !seat.replica.has(m.Control.Recipient.SessionID) {
			return
		}
	case wire.ToUser:
		to = to[:0]
		for _, id := range seat.replica.sessionsOf(m.Control.Recipient.UserID) {
			if id != s.id {
				to = append(to, wire.Recipient{Type: wire.ToSession, SessionID: id})
			}
		}
	}
	for _, r := range to {
		if err := s.speak(r, m.Control.Data, true, ""); err != nil {
			s.fail(m.ID, err)
		}
	}
}
