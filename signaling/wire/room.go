package wire

import (
	"encoding/json"

	"github.com/talkd/talkd/store"
)

// RoomSessionID is a participant's session of a room as the backend names it.
// It is not the id of the signaling session.
type RoomSessionID string

// JoinRoom asks to enter a room, or with an empty RoomID to leave the one the
// session is in.
type JoinRoom struct {
	RoomID    string        `json:"roomid"`
	SessionID RoomSessionID `json:"sessionid,omitempty"`
	// Federation is there when the room lives at another server.
	Federation *Federation `json:"federation,omitempty"`
}

func (r *JoinRoom) validate() error {
	if err := checkText("roomid", r.RoomID, 0, maxRoomID); err != nil {
		return err
	}
	if err := checkText("sessionid", string(r.SessionID), 0, maxSessionID); err != nil {
		return err
	}
	if r.Federation == nil {
		return nil
	}
	return r.Federation.validate(r.RoomID)
}

// Room confirms that a session entered a room (RoomID is set) or left it.
type Room struct {
	RoomID     string          `json:"roomid"`
	Properties json.RawMessage `json:"properties,omitempty"`
	Bandwidth  *Bandwidth      `json:"bandwidth,omitempty"`
	// Home is the node that the cluster assigned to the room.
	Home store.NodeID `json:"home,omitempty"`
}

// Bandwidth limits what may be published, in bits per second.
type Bandwidth struct {
	MaxStreamBitrate uint64 `json:"maxstreambitrate"`
	MaxScreenBitrate uint64 `json:"maxscreenbitrate"`
}
