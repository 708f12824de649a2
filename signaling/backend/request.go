package backend

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// MaxRequest is the largest body of a request of an instance. A room of 2000
// needs about 600 KiB.
const MaxRequest = 1 << 20

// Types of requests.
const (
	TypeInvite       = "invite"
	TypeDisinvite    = "disinvite"
	TypeUpdate       = "update"
	TypeDelete       = "delete"
	TypeInCall       = "incall"
	TypeParticipants = "participants"
	TypeMessage      = "message"
	TypeSwitchTo     = "switchto"
	TypeTransient    = "transient"
)

// Request is what an instance tells about a room. The field named like Type is
// set. It reads back what it wrote, so it can travel between nodes.
type Request struct {
	Type         string        `json:"type"`
	Invite       *Invite       `json:"invite,omitempty"`
	Disinvite    *Disinvite    `json:"disinvite,omitempty"`
	Update       *RoomUpdate   `json:"update,omitempty"`
	Delete       *RoomDelete   `json:"delete,omitempty"`
	InCall       *InCall       `json:"incall,omitempty"`
	Participants *Participants `json:"participants,omitempty"`
	Message      *Message      `json:"message,omitempty"`
	SwitchTo     *SwitchTo     `json:"switchto,omitempty"`
	Transient    *Transient    `json:"transient,omitempty"`
	Dialout      *Dialout      `json:"dialout,omitempty"`
}

// Invite tells who was invited to the room.
type Invite struct {
	UserIDs    []string        `json:"userids,omitempty"`
	AllUserIDs []string        `json:"alluserids,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

// Disinvite tells who must leave the room: users, or single sessions.
type Disinvite struct {
	UserIDs    []string             `json:"userids,omitempty"`
	SessionIDs []wire.RoomSessionID `json:"sessionids,omitempty"`
	AllUserIDs []string             `json:"alluserids,omitempty"`
	Properties json.RawMessage      `json:"properties,omitempty"`
}

// RoomUpdate tells that the properties of the room changed.
type RoomUpdate struct {
	UserIDs    []string        `json:"userids,omitempty"`
	Properties json.RawMessage `json:"properties,omitempty"`
}

// RoomDelete tells that the room is gone.
type RoomDelete struct {
	UserIDs []string `json:"userids,omitempty"`
}

// InCall tells who joined or left the call. With All, InCall goes for
// everybody in the room and there are no lists.
type InCall struct {
	InCall  Flags         `json:"incall"`
	All     bool          `json:"all,omitempty"`
	Changed []Participant `json:"changed,omitempty"`
	Users   []Participant `json:"users,omitempty"`
}

// Participants tells what changed about participants, such as permissions.
type Participants struct {
	Changed []Participant `json:"changed,omitempty"`
	Users   []Participant `json:"users,omitempty"`
}

// Message is for everybody in the room.
type Message struct {
	Data json.RawMessage `json:"data"`
}

// SwitchTo asks sessions to go to another room.
type SwitchTo struct {
	RoomID   string         `json:"roomid"`
	Sessions SwitchSessions `json:"sessions"`
}

// Transient changes what those in the room share. TTL is in nanoseconds.
type Transient struct {
	Action string          `json:"action"`
	Key    string          `json:"key"`
	Value  json.RawMessage `json:"value,omitempty"`
	TTL    time.Duration   `json:"ttl,omitempty"`
}

// What a Transient does.
const (
	TransientSet    = "set"
	TransientDelete = "delete"
)

// Removes tells whether there is no value afterwards: null is none.
func (t *Transient) Removes() bool {
	return t.Action == TransientDelete || len(t.Value) == 0 || string(t.Value) == "null"
}

func (t *Transient) validate() error {
	if t.Action != TransientSet && t.Action != TransientDelete {
		return fmt.Errorf("%w: transient action %.32q", ErrBadRequest, t.Action)
	}
	if err := wire.CheckTransient(t.Key, t.Value, t.TTL); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return nil
}

// SwitchSessions has the details for each session, or nil. Instances send a
// list when there are no details.
type SwitchSessions map[wire.RoomSessionID]json.RawMessage

// UnmarshalJSON takes both forms.
func (s *SwitchSessions) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []wire.RoomSessionID
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		*s = make(SwitchSessions, len(list))
		for _, id := range list {
			(*s)[id] = nil
		}
		return nil
	}
	var m map[wire.RoomSessionID]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	for id, details := range m {
		if string(details) == "null" {
			m[id] = nil
		}
	}
	*s = m
	return nil
}

// DecodeRequest reads the body of a request whose checksum was verified.
func DecodeRequest(body []byte) (Request, error) {
	var r Request
	if err := wire.CheckJSON(body, MaxRequest); err != nil {
		return r, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return Request{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return r, r.Validate()
}

// Limits of requests.
const (
	maxEntries = 10_000
	maxName    = 512
)

// Validate tells whether the request is complete and within its limits.
func (r Request) Validate() error {
	switch r.Type {
	case TypeInvite:
		if b := r.Invite; b != nil {
			return errors.Join(checkNames(b.UserIDs), checkNames(b.AllUserIDs))
		}
	case TypeDisinvite:
		if b := r.Disinvite; b != nil {
			return errors.Join(checkNames(b.UserIDs), checkNames(b.AllUserIDs), checkNames(b.SessionIDs))
		}
	case TypeUpdate:
		if b := r.Update; b != nil {
			return checkNames(b.UserIDs)
		}
	case TypeDelete:
		if b := r.Delete; b != nil {
			return checkNames(b.UserIDs)
		}
	case TypeInCall:
		if b := r.InCall; b != nil {
			return errors.Join(checkParticipants(b.Changed), checkParticipants(b.Users))
		}
	case TypeParticipants:
		if b := r.Participants; b != nil {
			return errors.Join(checkParticipants(b.Changed), checkParticipants(b.Users))
		}
	case TypeMessage:
		if b := r.Message; b != nil && len(b.Data) > 0 && string(b.Data) != "null" {
			return nil
		}
	case TypeSwitchTo:
		if b := r.SwitchTo; b != nil {
			return b.validate()
		}
	case TypeTransient:
		if b := r.Transient; b != nil {
			return b.validate()
		}
	case TypeDialout:
		if b := r.Dialout; b != nil {
			return b.validate()
		}
	case "":
		return fmt.Errorf("%w: no type", ErrBadRequest)
	default:
		return fmt.Errorf("%w: %.32q", ErrUnknownRequest, r.Type)
	}
	return fmt.Errorf("%w: %s without its body", ErrBadRequest, r.Type)
}

func (s *SwitchTo) validate() error {
	if s.RoomID == "" || len(s.RoomID) > maxName {
		return fmt.Errorf("%w: switchto without a room", ErrBadRequest)
	}
	if len(s.Sessions) > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrBadRequest, maxEntries)
	}
	for id := range s.Sessions {
		if len(id) > maxName {
			return fmt.Errorf("%w: name longer than %d", ErrBadRequest, maxName)
		}
	}
	return nil
}

func checkNames[T ~string](names []T) error {
	if len(names) > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrBadRequest, maxEntries)
	}
	for _, n := range names {
		if len(n) > maxName {
			return fmt.Errorf("%w: name longer than %d", ErrBadRequest, maxName)
		}
	}
	return nil
}

func checkParticipants(list []Participant) error {
	if len(list) > maxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrBadRequest, maxEntries)
	}
	for _, p := range list {
		if len(p.SessionID) > maxName || len(p.UserID) > maxName {
			return fmt.Errorf("%w: name longer than %d", ErrBadRequest, maxName)
		}
	}
	return nil
}
