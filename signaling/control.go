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
	s.rule(m.ID, seat, m.Control, true)
}

// command is control for an ordinary message whose data do the same: web clients do not
// tell the two apart.
func (s *Session) command(id string, m *wire.Send) {
	seat := s.currentSeat()
	switch {
	case seat == nil:
		s.fail(id, wire.ErrNotInRoom)
	case !seat.allowed(backend.PermissionControl):
		s.fail(id, wire.ErrNotAllowed)
	default:
		s.rule(id, seat, m, false)
	}
}

// rule passes on what somebody may ask of others. The permission is one for this room:
// it reaches nobody outside.
func (s *Session) rule(id string, seat *seat, m *wire.Send, control bool) {
	to, data := m.Recipient, m.Data
	switch to.Type {
	case wire.ToSession:
		if !seat.replica.has(to.SessionID) {
			return
		}
	case wire.ToUser:
		for _, id := range seat.replica.sessionsOf(to.UserID) {
			if id != s.id {
				say := s.saying(to.Type, data, control)
				say.ToSession = string(id)
				seat.replica.say(say)
			}
		}
		return
	}
	if err := s.speak(to, data, control, ""); err != nil {
		s.fail(id, err)
	}
}
