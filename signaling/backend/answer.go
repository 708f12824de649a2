package backend

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Kinds of questions and answers.
const (
	kindAuth         = "auth"
	kindRoom         = "room"
	kindPing         = "ping"
	kindError        = "error"
	kindSession      = "session"
	kindCapabilities = "capabilities" // asked by GET, for the key of tokens

	actionJoin  = "join"
	actionLeave = "leave"
)

// question is what we ask an instance. The field named like Type is set.
type question struct {
	Type string        `json:"type"`
	Auth *authQuestion `json:"auth,omitempty"`
	Room *roomQuestion `json:"room,omitempty"`
	Ping *pingQuestion `json:"ping,omitempty"`

	Session *sessionQuestion `json:"session,omitempty"`
}

type authQuestion struct {
	Version string          `json:"version"`
	Params  json.RawMessage `json:"params"`
}

type roomQuestion struct {
	Version   string             `json:"version"`
	RoomID    string             `json:"roomid"`
	UserID    string             `json:"userid"`
	SessionID wire.RoomSessionID `json:"sessionid"`
	Action    string             `json:"action"`
	// Of virtual sessions that are attendees.
	ActorID   string `json:"actorid,omitempty"`
	ActorType string `json:"actortype,omitempty"`
	InCall    *Flags `json:"incall,omitempty"`
}

type sessionQuestion struct {
	Version   string          `json:"version"`
	RoomID    string          `json:"roomid"`
	Action    string          `json:"action"`
	SessionID store.SessionID `json:"sessionid"`
	UserID    string          `json:"userid,omitempty"`
	User      json.RawMessage `json:"user,omitempty"`
}

type pingQuestion struct {
	Version string      `json:"version"`
	RoomID  string      `json:"roomid"`
	Entries []PingEntry `json:"entries"`
}

// answer is what an instance says, without the envelope.
type answer struct {
	Type  string      `json:"type"`
	Error *wire.Error `json:"error"`
	Auth  *authAnswer `json:"auth"`
	Room  *roomAnswer `json:"room"`
}

type authAnswer struct {
	UserID string          `json:"userid"`
	User   json.RawMessage `json:"user"`
}

type roomAnswer struct {
	RoomID      string          `json:"roomid"`
	Properties  json.RawMessage `json:"properties"`
	Permissions []string        `json:"permissions"`
	Session     json.RawMessage `json:"session"`
}

// decodeAnswer takes the OCS envelope off. An answer with another status counts
// only if it says why in the form of the protocol: anything else, a redirect
// among it, comes from something in front of the instance.
func decodeAnswer(status int, body []byte, limit int64) (*answer, error) {
	if status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
		// Of what is in front of it, or it is being maintained.
		return nil, fmt.Errorf("%w: status %d", ErrUnreachable, status)
	}
	if err := wire.CheckJSON(body, int(limit)); err != nil {
		return nil, fmt.Errorf("%w: status %d: %w", ErrBadResponse, status, err)
	}
	var envelope struct {
		OCS *struct {
			Data *answer `json:"data"`
		} `json:"ocs"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return nil, fmt.Errorf("%w: status %d: %w", ErrBadResponse, status, err)
	}
	if envelope.OCS == nil || envelope.OCS.Data == nil {
		return nil, fmt.Errorf("%w: status %d without an OCS envelope", ErrBadResponse, status)
	}
	a := envelope.OCS.Data
	if status != http.StatusOK && a.Type != kindError {
		return nil, fmt.Errorf("%w: status %d", ErrBadResponse, status)
	}
	return a, nil
}

// refusal is the error that the instance named, bounded, as it is passed on to
// the client.
func (a *answer) refusal(fallback error) error {
	if a.Error == nil {
		return fmt.Errorf("%w: %w: an error without its body", fallback, ErrBadResponse)
	}
	return wire.ForeignError(string(a.Error.Code), a.Error.Message, a.Error.Details, fallback)
}

// objectOrNil drops what is no object: PHP writes an empty array for an empty
// object, and clients look into it by name.
func objectOrNil(raw json.RawMessage) json.RawMessage {
	if len(raw) > 0 && raw[0] == '{' {
		return raw
	}
	return nil
}
