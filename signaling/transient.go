package signaling

import (
	"fmt"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
)

// transient asks the home of the room to change what those who are there share.
func (s *Session) transient(m *wire.ClientMessage) {
	if err := s.changeTransient(m.ID, m.Transient); err != nil {
		s.fail(m.ID, err)
	}
}

func (s *Session) changeTransient(id string, c *wire.ChangeTransient) error {
	seat := s.currentSeat()
	if seat == nil {
		return wire.ErrNotInRoom
	}
	if of, own := wire.SessionDataOf(c.Key); own && of != s.id {
		return fmt.Errorf("%w: data of another session", wire.ErrNotAllowed)
	}
	if !seat.allowed(backend.PermissionTransientData) {
		return wire.ErrNotAllowed
	}
	change := &signalpb.Transient{Id: id, Key: c.Key}
	if !c.Removes() {
		change.Value, change.Expires = c.Value, expiry(c.TTL)
	}
	seat.replica.say(&signalpb.Say{Session: string(s.id), UserId: s.who.userID, To: toTransient, Transient: change})
	return nil
}
