package wire

import (
	"bytes"
	"encoding/json"
)

// ServerMessage is what a node says. The field named like Type is set. ID is
// that of the question, if there was one.
type ServerMessage struct {
	ID      string      `json:"id,omitempty"`
	Type    string      `json:"type"`
	Error   *Error      `json:"error,omitempty"`
	Welcome *ServerInfo `json:"welcome,omitempty"`
	Hello   *HelloReply `json:"hello,omitempty"`
	Bye     *Bye        `json:"bye,omitempty"`
	Room    *Room       `json:"room,omitempty"`
	Message *Deliver    `json:"message,omitempty"`
	Control *Deliver    `json:"control,omitempty"`
	Event   *Event      `json:"event,omitempty"`
	Move    *Move       `json:"move,omitempty"`

	Transient *Transient      `json:"transient,omitempty"`
	Internal  *ServerInternal `json:"internal,omitempty"`
}

// Encode writes m as one frame. Whoever sends to many encodes once and shares
// the bytes.
//
// It can fail only when a json.RawMessage inside is not JSON, which nothing that
// came through Decode or from package backend is. Then the frame says
// CodeProcessingFailed, so that there is an answer all the same.
func Encode(m ServerMessage) []byte {
	frame, err := encode(m)
	if err != nil {
		frame = Marshal(ErrorReply(m.ID, ErrProcessingFailed))
	}
	return frame
}

// ErrorReply is the answer to the message with the given id.
func ErrorReply(id string, err error) ServerMessage {
	return ServerMessage{ID: id, Type: TypeError, Error: ErrorFor(err)}
}

// WelcomeMessage greets a connection.
func WelcomeMessage(info ServerInfo) ServerMessage {
	return ServerMessage{Type: TypeWelcome, Welcome: &info}
}

// Reasons of a bye that the client did not ask for.
const (
	ByeRoomSession = "room_session_reconnected" // the participant came back with another session
	ByeMoved       = "session_moved"            // the session went to another node
)

// ByeMessage tells that the session is over for this connection.
func ByeMessage(id, reason string) ServerMessage {
	return ServerMessage{ID: id, Type: TypeBye, Bye: &Bye{Reason: reason}}
}

// DeliverMessage hands on what somebody said.
func DeliverMessage(from Sender, data json.RawMessage) ServerMessage {
	return ServerMessage{Type: TypeMessage, Message: &Deliver{Sender: from, Data: data}}
}

// DeliverControl hands on what somebody with the right to do so asked for.
func DeliverControl(from Sender, data json.RawMessage) ServerMessage {
	return ServerMessage{Type: TypeControl, Control: &Deliver{Sender: from, Data: data}}
}

// encode leaves <, > and & as they are: the frames go into a WebSocket, not
// into a page, and the escapes would make SDP longer.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Marshal writes a part of a frame. It is nil if a json.RawMessage inside is not JSON.
func Marshal(v any) json.RawMessage {
	b, err := encode(v)
	if err != nil {
		return nil
	}
	return b
}
