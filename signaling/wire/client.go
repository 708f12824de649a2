package wire

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Types of messages, both ways.
const (
	TypeWelcome = "welcome"
	TypeHello   = "hello"
	TypeBye     = "bye"
	TypeRoom    = "room"
	TypeMessage = "message"
	TypeControl = "control"
	TypeEvent   = "event"
	TypePing    = "ping"
	TypePong    = "pong"
	TypeMove    = "move"
	TypeError   = "error"

	TypeTransient = "transient"
	TypeInternal  = "internal"
)

// ClientMessage is what a client says. The field named like Type is set.
type ClientMessage struct {
	ID      string     `json:"id,omitempty"`
	Type    string     `json:"type"`
	Hello   *Hello     `json:"hello,omitempty"`
	Bye     *Bye       `json:"bye,omitempty"`
	Room    *JoinRoom  `json:"room,omitempty"`
	Message *Send      `json:"message,omitempty"`
	Control *Send      `json:"control,omitempty"`
	Move    *MoveState `json:"move,omitempty"`

	Transient *ChangeTransient `json:"transient,omitempty"`
	Internal  *Internal        `json:"internal,omitempty"`
}

// Bye ends a session. Reason is for the server's side only.
type Bye struct {
	Reason string `json:"reason,omitempty"`
}

// Decode reads one frame of a client. It refuses what is too large, too deep,
// not UTF-8, not complete or can be read in two ways, so that nobody behind it needs to
// look again.
//
// The message is never nil: beside an error it has the ID, if one could be
// read, so that the answer finds its question.
func Decode(frame []byte) (*ClientMessage, error) {
	m := &ClientMessage{}
	if err := CheckJSON(frame, MaxFrame); err != nil {
		return m, err
	}
	if err := checkKeys(frame); err != nil {
		return &ClientMessage{ID: readID(frame)}, err
	}
	if err := json.Unmarshal(frame, m); err != nil {
		return &ClientMessage{ID: readID(frame)}, fmt.Errorf("%w: %w", ErrFormat, shapeOf(err))
	}
	if err := checkText("id", m.ID, 0, maxID); err != nil {
		m.ID = ""
		return m, err
	}
	return m, m.Validate()
}

// Validate tells whether the message is complete and within its limits.
func (m *ClientMessage) Validate() error {
	switch m.Type {
	case TypeHello:
		if m.Hello != nil {
			return m.Hello.validate()
		}
	case TypeBye, TypePing:
		// The body says nothing, so it may be left out.
		return nil
	case TypeRoom:
		if m.Room != nil {
			return m.Room.validate()
		}
	case TypeMessage:
		if m.Message != nil {
			return m.Message.validate()
		}
	case TypeControl:
		if m.Control != nil {
			return m.Control.validate()
		}
	case TypeMove:
		if m.Move != nil {
			return m.Move.validate()
		}
	case TypeTransient:
		if m.Transient != nil {
			return m.Transient.validate()
		}
	case TypeInternal:
		if m.Internal != nil {
			return m.Internal.validate()
		}
	case "":
		return fmt.Errorf("%w: no type", ErrFormat)
	default:
		return fmt.Errorf("%w: %.32q", ErrUnknownType, m.Type)
	}
	return fmt.Errorf("%w: %s without its body", ErrFormat, m.Type)
}

// readID reads the id alone, for the answer to a message whose body has fields
// of the wrong types.
func readID(frame []byte) string {
	var env struct {
		ID string `json:"id"`
	}
	var wrongType *json.UnmarshalTypeError
	if err := json.Unmarshal(frame, &env); err != nil && !errors.As(err, &wrongType) {
		return ""
	}
	if checkText("id", env.ID, 0, maxID) != nil {
		return ""
	}
	return env.ID
}

// shapeOf keeps of an error of the JSON decoder what names a place, not what
// quotes the sender's text: a message may hold a ticket.
func shapeOf(err error) error {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return fmt.Errorf("field %.64q is of a wrong type", wrongType.Field)
	}
	return errors.New("not JSON")
}
