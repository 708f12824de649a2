package backend

import (
	"encoding/json"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// AuthResponse says who a client is. A guest has no UserID.
type AuthResponse struct {
	UserID  string
	GuestID string          // of the embedded backend's guests; never shown to anybody
	User    json.RawMessage // object or nil; shown to the other participants
}

// RoomRequest asks to let a participant in or out.
type RoomRequest struct {
	Room      store.RoomID
	Via       string `json:",omitempty"` // by which URL of the instance the participant came; empty: its first
	UserID    string
	GuestID   string // as the AuthResponse named the guest
	SessionID wire.RoomSessionID
	Actor     Actor  // of a virtual session or a federated one
	InCall    *Flags // of a virtual session that enters
}

// RoomResponse says what a participant finds and may do.
type RoomResponse struct {
	RoomID      string
	Properties  json.RawMessage // nil if not sent
	Permissions []string        // nil if not sent: nothing is restricted
	Session     json.RawMessage // object or nil; joins the User of the join event
}

// Permissions that an instance may grant.
const (
	PermissionPublishMedia  = "publish-media"
	PermissionPublishAudio  = "publish-audio"
	PermissionPublishVideo  = "publish-video"
	PermissionPublishScreen = "publish-screen"
	PermissionControl       = "control"
	PermissionTransientData = "transient-data"

	// PermissionHideNames takes something away: its owner is not to know what the
	// others are called.
	PermissionHideNames = "hide-displaynames"
)

// PingEntry names a participant that is still there.
type PingEntry struct {
	UserID    string             `json:"userid,omitempty"`
	SessionID wire.RoomSessionID `json:"sessionid"`
}
