package wire

import (
	"encoding/json"
	"fmt"
)

// Kinds of what internal clients say, by the type inside of Internal.
const (
	InternalAdd    = "addsession"
	InternalUpdate = "updatesession"
	InternalRemove = "removesession"
	InternalInCall = "incall"

	InternalDialout = "dialout" // asked by the server, and answered
)

// Internal is what only an internal client says: about virtual sessions, which stand for
// people without a client such as those on the phone, and about itself. The field
// named like Type is set.
type Internal struct {
	Type          string         `json:"type"`
	AddSession    *AddSession    `json:"addsession,omitempty"`
	UpdateSession *UpdateSession `json:"updatesession,omitempty"`
	RemoveSession *RemoveSession `json:"removesession,omitempty"`
	InCall        *OwnInCall     `json:"incall,omitempty"`
	Dialout       *DialoutAnswer `json:"dialout,omitempty"`
}

// VirtualID is the name an internal client has for a virtual session of its own.
type VirtualID string

// AddSession lets a virtual session enter a room.
type AddSession struct {
	SessionID VirtualID       `json:"sessionid"`
	RoomID    string          `json:"roomid"`
	UserID    string          `json:"userid,omitempty"`
	User      json.RawMessage `json:"user,omitempty"`
	Flags     uint32          `json:"flags,omitempty"`
	InCall    *int32          `json:"incall,omitempty"`
	Options   *ActorOptions   `json:"options,omitempty"`
}

// ActorOptions say which attendee of the room the virtual session is.
type ActorOptions struct {
	ActorID   string `json:"actorId,omitempty"`
	ActorType string `json:"actorType,omitempty"`
}

// UpdateSession changes what is not nil.
type UpdateSession struct {
	SessionID VirtualID `json:"sessionid"`
	RoomID    string    `json:"roomid"`
	Flags     *uint32   `json:"flags,omitempty"`
	InCall    *int32    `json:"incall,omitempty"`
}

// RemoveSession lets a virtual session leave.
type RemoveSession struct {
	SessionID VirtualID `json:"sessionid"`
	RoomID    string    `json:"roomid"`
	UserID    string    `json:"userid,omitempty"`
}

// OwnInCall sets the flags of the internal client itself.
type OwnInCall struct {
	InCall int32 `json:"incall"`
}

// maxVirtualUser bounds what others are shown of a virtual session.
const maxVirtualUser = 4096

func (i *Internal) validate() error {
	switch i.Type {
	case InternalAdd:
		if i.AddSession != nil {
			return i.AddSession.validate()
		}
	case InternalUpdate:
		if u := i.UpdateSession; u != nil {
			return checkVirtual(u.SessionID, u.RoomID)
		}
	case InternalRemove:
		if r := i.RemoveSession; r != nil {
			return checkVirtual(r.SessionID, r.RoomID)
		}
	case InternalInCall:
		if i.InCall != nil {
			return nil
		}
	case InternalDialout:
		if i.Dialout != nil {
			return i.Dialout.validate()
		}
	case "":
		return fmt.Errorf("%w: internal without a type", ErrFormat)
	default:
		return fmt.Errorf("%w: internal %.32q", ErrUnknownType, i.Type)
	}
	return fmt.Errorf("%w: internal %s without its body", ErrFormat, i.Type)
}

func checkVirtual(id VirtualID, room string) error {
	if err := checkText("virtual sessionid", string(id), 1, maxSessionID); err != nil {
		return err
	}
	return checkText("roomid", room, 1, maxRoomID)
}

func (a *AddSession) validate() error {
	if err := checkVirtual(a.SessionID, a.RoomID); err != nil {
		return err
	}
	if err := checkText("userid", a.UserID, 0, maxUserID); err != nil {
		return err
	}
	if isPresent(a.User) && (!isObject(a.User) || len(a.User) > maxVirtualUser) {
		return fmt.Errorf("%w: user is no object, or larger than %d", ErrFormat, maxVirtualUser)
	}
	if o := a.Options; o != nil {
		if err := checkText("actorId", o.ActorID, 0, maxUserID); err != nil {
			return err
		}
		return checkText("actorType", o.ActorType, 0, maxFeature)
	}
	return nil
}
