package signaling

import (
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// control passes on what a moderator asks of others, such as to be mute. From
// others it is dropped without a word, as clients expect.
func (s *Session) control(m *wire.ClientMessage) {
	seat := s.room()
	if seat == nil {
		s.fail(m.ID, wire.ErrNotInRoom)
		return
	}
	if !seat.allowed(backend.PermissionControl) {
		return
	}
	if err := s.speak(m.Control.Recipient, m.Control.Data, true, ""); err != nil {
		s.fail(m.ID, err)
	}
}
