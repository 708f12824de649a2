package wire

import (
	"encoding/json"
	"fmt"
)

// Kinds of what an internal client says about a call that it was asked to make.
const (
	DialoutStatus = "status"
	DialoutError  = "error"
)

// ServerInternal is what a node asks of an internal client.
type ServerInternal struct {
	Type    string          `json:"type"`
	Dialout *DialoutRequest `json:"dialout,omitempty"`
}

// DialoutRequest asks to call somebody into a room. Backend is the one of the room.
type DialoutRequest struct {
	RoomID  string     `json:"roomid"`
	Backend string     `json:"backend"`
	Request DialNumber `json:"request"`
}

// DialNumber is whom to call. Options are for the client and for the backend, which it
// asks whether the call may be made.
type DialNumber struct {
	Number  string          `json:"number"`
	Options json.RawMessage `json:"options,omitempty"`
}

// DialoutAnswer is the answer to a DialoutRequest, and what becomes of the call.
type DialoutAnswer struct {
	Type   string      `json:"type"`
	RoomID string      `json:"roomid,omitempty"`
	Error  *Error      `json:"error,omitempty"`
	Status *CallStatus `json:"status,omitempty"`
}

// States in which a call has ended.
const (
	CallRejected = "rejected"
	CallCleared  = "cleared"
)

// CallStatus is how far a call is: accepted, ringing, connected, or one of the above.
type CallStatus struct {
	CallID  string `json:"callid"`
	Status  string `json:"status"`
	Cause   string `json:"cause,omitempty"`
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

func (d *DialoutAnswer) validate() error {
	switch {
	case d.Type == DialoutError && d.Error != nil:
		// What the client names is cut to size where it is passed on.
		return nil
	case d.Type == DialoutStatus && d.Status != nil:
		if err := checkText("callid", d.Status.CallID, 1, maxID); err != nil {
			return err
		}
		if err := checkText("message", d.Status.Message, 0, maxErrorMessage); err != nil {
			return err
		}
		if err := checkText("roomid", d.RoomID, 0, maxRoomID); err != nil {
			return err
		}
		if err := checkText("status", d.Status.Status, 1, maxFeature); err != nil {
			return err
		}
		return checkText("cause", d.Status.Cause, 0, maxErrorMessage)
	}
	return fmt.Errorf("%w: dialout %.32q without its body", ErrFormat, d.Type)
}

// DialoutMessage asks an internal client to call somebody.
func DialoutMessage(id string, r DialoutRequest) ServerMessage {
	return ServerMessage{ID: id, Type: TypeInternal, Internal: &ServerInternal{Type: InternalDialout, Dialout: &r}}
}
