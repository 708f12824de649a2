package wire

import (
	"encoding/json"
	"fmt"

	"github.com/talkd/talkd/store"
)

// To whom a message goes.
const (
	ToSession = "session"
	ToUser    = "user"
	ToRoom    = "room"
	ToCall    = "call"
)

// Recipient says to whom a message goes.
type Recipient struct {
	Type      string          `json:"type"`
	SessionID store.SessionID `json:"sessionid,omitempty"`
	UserID    string          `json:"userid,omitempty"`
}

func (r *Recipient) validate() error {
	switch r.Type {
	case ToSession:
		return checkText("recipient sessionid", string(r.SessionID), 1, maxSessionID)
	case ToUser:
		return checkText("recipient userid", r.UserID, 1, maxUserID)
	case ToRoom, ToCall:
		return nil
	default:
		return fmt.Errorf("%w: recipient type %.32q", ErrFormat, r.Type)
	}
}

// Send is what a client says to others, as "message" or as "control". Data pass
// through as they came.
type Send struct {
	Recipient Recipient       `json:"recipient"`
	Data      json.RawMessage `json:"data"`
}

func (s *Send) validate() error {
	if !isPresent(s.Data) {
		return fmt.Errorf("%w: message without data", ErrFormat)
	}
	return s.Recipient.validate()
}

// Sender says from whom a message comes. Type is the recipient's type, by which
// clients tell what was said to them from what was said to all.
type Sender struct {
	Type      string          `json:"type"`
	SessionID store.SessionID `json:"sessionid,omitempty"`
	UserID    string          `json:"userid,omitempty"`
}

// Deliver is what a client hears from others, as "message" or as "control".
type Deliver struct {
	Sender Sender `json:"sender"`
	// Recipient is there when it is for a virtual session of the client.
	Recipient *Recipient      `json:"recipient,omitempty"`
	Data      json.RawMessage `json:"data"`
}
