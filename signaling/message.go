package signaling

import (
	"encoding/json"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// message passes on what the client says to others, or hands it to the media
// of the session.
func (s *Session) message(m *wire.ClientMessage) {
	to, data := m.Message.Recipient, m.Message.Data
	switch kind := wire.DataType(data); {
	case kind == wire.DataControl:
		s.command(m.ID, m.Message)
		return
	case to.Type != wire.ToSession && wire.ForOneSession(kind):
		s.fail(m.ID, wire.ErrNotAllowed)
		return
	}
	offer := ""
	if to.Type == wire.ToSession {
		media, err := wire.DecodeMedia(data)
		if err != nil {
			s.fail(m.ID, err)
			return
		}
		if media != nil {
			var handled bool
			if offer, handled = s.media(m.ID, to.SessionID, media); handled {
				return
			}
		}
	}
	if err := s.speak(to, data, false, offer); err != nil {
		s.fail(m.ID, err)
	}
}

// speak sends data to others. What is for the room goes by way of its home, so
// that everybody hears everything in one order.
func (s *Session) speak(to wire.Recipient, data json.RawMessage, control bool, offer string) error {
	if s.warm.Load() {
		return errWarm
	}
	seat := s.currentSeat()
	say := s.saying(to.Type, data, control)
	say.Offer = offer
	switch to.Type {
	case wire.ToRoom, wire.ToCall:
		if seat == nil {
			return wire.ErrNotInRoom
		}
		seat.replica.say(say)
	case wire.ToUser:
		s.hub.toUsers(s.who.backend, []string{to.UserID}, sayFrame(say), s.id)
	case wire.ToSession:
		say.ToSession = string(to.SessionID)
		if seat != nil && to.SessionID != s.id && seat.replica.has(to.SessionID) {
			seat.replica.say(say)
			return nil
		}
		if offer != "" {
			return wire.ErrNotAllowed // not in one room
		}
		s.hub.toSession(s.who.backend, to.SessionID, sayFrame(say))
	}
	return nil
}

// saying is what the session says to recipients of a type.
func (s *Session) saying(to string, data json.RawMessage, control bool) *signalpb.Say {
	return &signalpb.Say{Session: string(s.id), UserId: s.who.userID, To: to, Control: control, Data: data}
}

// sayFrame is how the others hear it.
func sayFrame(say *signalpb.Say) []byte {
	sender := wire.Sender{Type: say.GetTo(), SessionID: store.SessionID(say.GetSession()), UserID: say.GetUserId()}
	if say.GetControl() {
		return wire.Encode(wire.DeliverControl(sender, say.GetData()))
	}
	return wire.Encode(wire.DeliverMessage(sender, say.GetData()))
}
