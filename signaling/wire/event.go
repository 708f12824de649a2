package wire

import (
	"encoding/json"
	"slices"

	"github.com/talkd/talkd/store"
)

// Targets of events: which list of the client they are about.
const (
	TargetRoom         = "room"
	TargetRoomList     = "roomlist"
	TargetParticipants = "participants"
	TargetMedia        = "media" // of the session; only for clients with ClientShed
)

// Types of events. Not every target has every type.
const (
	EventJoin      = "join"
	EventLeave     = "leave"
	EventMessage   = "message"
	EventSwitchTo  = "switchto"
	EventUpdate    = "update"
	EventInvite    = "invite"
	EventDisinvite = "disinvite"
	EventShed      = "shed"
	EventFlags     = "flags"

	EventFederationInterrupted = "federation_interrupted"
	EventFederationResumed     = "federation_resumed"
)

// Event tells a client what happened. Which field is set follows from Type.
type Event struct {
	Target string `json:"target"`
	Type   string `json:"type"`

	Join      []SessionEntry    `json:"join,omitempty"`
	Leave     []store.SessionID `json:"leave,omitempty"`
	Message   *RoomMessage      `json:"message,omitempty"`
	SwitchTo  *SwitchTo         `json:"switchto,omitempty"`
	Update    *Update           `json:"update,omitempty"`
	Invite    *RoomEntry        `json:"invite,omitempty"`
	Disinvite *RoomEntry        `json:"disinvite,omitempty"`
	Shed      *Shed             `json:"shed,omitempty"`
	Flags     *SessionFlags     `json:"flags,omitempty"`
	// Resumed goes with EventFederationResumed: nothing has changed meanwhile.
	Resumed *bool `json:"resumed,omitempty"`
}

// SessionFlags are those of a virtual session: whether it is muted, on hold, speaking.
type SessionFlags struct {
	RoomID    string          `json:"roomid"`
	SessionID store.SessionID `json:"sessionid"`
	Flags     uint32          `json:"flags"`
}

// SessionEntry is a session in a room, as the others see it. Guests have no
// UserID and no User, internal clients an empty UserID and no RoomSessionID.
type SessionEntry struct {
	SessionID     store.SessionID `json:"sessionid"`
	UserID        *string         `json:"userid,omitempty"`
	User          json.RawMessage `json:"user,omitempty"`
	RoomSessionID RoomSessionID   `json:"roomsessionid,omitempty"`
	Features      []string        `json:"features,omitempty"`
	Federated     bool            `json:"federated,omitempty"`
}

// Nameless is the same without what the participants are called.
func Nameless(entries []SessionEntry) []SessionEntry {
	entries = slices.Clone(entries)
	for i, e := range entries {
		var user map[string]json.RawMessage
		if json.Unmarshal(e.User, &user) != nil || user["displayname"] == nil {
			continue
		}
		delete(user, "displayname")
		if entries[i].User = nil; len(user) > 0 {
			entries[i].User = Marshal(user)
		}
	}
	return entries
}

// Participant is one entry of the list that says who is in the call: what the
// backend sent, whatever that is, with the session ids of both sides.
type Participant map[string]json.RawMessage

// Update is a change of participants (Users, or All with InCall), of a room in
// the list of rooms (Properties), or of the room the client is in (Home).
type Update struct {
	RoomID     string          `json:"roomid"`
	Properties json.RawMessage `json:"properties,omitempty"`
	// InCall goes with All. A pointer, as 0 ends the call for all.
	InCall *int          `json:"incall,omitempty"`
	All    bool          `json:"all,omitempty"`
	Users  []Participant `json:"users,omitempty"`
	// Home is the room's home now, in an event about the room.
	Home store.NodeID `json:"home,omitempty"`
}

// RoomEntry is a room in the list of rooms.
type RoomEntry struct {
	RoomID     string          `json:"roomid"`
	Properties json.RawMessage `json:"properties,omitempty"`
	// Reason is set when the entry went away: "disinvited" or "deleted".
	Reason string `json:"reason,omitempty"`
}

// RoomMessage is what the backend says to everybody in a room.
type RoomMessage struct {
	RoomID string          `json:"roomid"`
	Data   json.RawMessage `json:"data,omitempty"`
}

// SwitchTo asks a client to go to another room.
type SwitchTo struct {
	RoomID  string          `json:"roomid"`
	Details json.RawMessage `json:"details,omitempty"`
}

// What an overloaded node does to a video.
const (
	ShedNothing = "none"    // all of it is sent, again
	ShedLowered = "lowered" // a worse layer is sent
	ShedPaused  = "paused"  // nothing is sent
)

// Shed tells what an overloaded node does to the video that a connection
// receives.
type Shed struct {
	SessionID store.SessionID `json:"sessionid"` // who publishes
	RoomType  string          `json:"roomType"`
	SID       string          `json:"sid"`
	State     string          `json:"state"`
}

// JoinEvent tells who came into the room.
func JoinEvent(entries ...SessionEntry) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventJoin, Join: entries})
}

// LeaveEvent tells who left the room.
func LeaveEvent(ids ...store.SessionID) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventLeave, Leave: ids})
}

// RoomMessageEvent hands on what the backend says to a room.
func RoomMessageEvent(room string, data json.RawMessage) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventMessage, Message: &RoomMessage{RoomID: room, Data: data}})
}

// SwitchToEvent asks a client to go to another room.
func SwitchToEvent(room string, details json.RawMessage) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventSwitchTo, SwitchTo: &SwitchTo{RoomID: room, Details: details}})
}

// ParticipantsEvent tells the state of the participants listed. Those not
// listed stay as they were.
func ParticipantsEvent(room string, users []Participant) ServerMessage {
	return event(Event{Target: TargetParticipants, Type: EventUpdate, Update: &Update{RoomID: room, Users: users}})
}

// InCallAllEvent sets the same call flags for everybody in the room.
func InCallAllEvent(room string, flags int) ServerMessage {
	return event(Event{Target: TargetParticipants, Type: EventUpdate, Update: &Update{RoomID: room, InCall: &flags, All: true}})
}

// FlagsEvent tells the flags of a virtual session.
func FlagsEvent(room string, session store.SessionID, flags uint32) ServerMessage {
	return event(Event{Target: TargetParticipants, Type: EventFlags, Flags: &SessionFlags{RoomID: room, SessionID: session, Flags: flags}})
}

// RoomUpdateEvent tells that a room of the client's list changed.
func RoomUpdateEvent(room string, properties json.RawMessage) ServerMessage {
	return event(Event{Target: TargetRoomList, Type: EventUpdate, Update: &Update{RoomID: room, Properties: properties}})
}

// HomeEvent tells that the room the client is in has another home.
func HomeEvent(room string, home store.NodeID) ServerMessage {
	return event(Event{Target: TargetRoom, Type: EventUpdate, Update: &Update{RoomID: room, Home: home}})
}

// InviteEvent tells that a room came into the client's list.
func InviteEvent(room string, properties json.RawMessage) ServerMessage {
	return event(Event{Target: TargetRoomList, Type: EventInvite, Invite: &RoomEntry{RoomID: room, Properties: properties}})
}

// ShedEvent tells of video that is left out, or no longer.
func ShedEvent(s Shed) ServerMessage {
	return event(Event{Target: TargetMedia, Type: EventShed, Shed: &s})
}

// Reasons of a DisinviteEvent.
const (
	ReasonDisinvited = "disinvited"
	ReasonDeleted    = "deleted"
)

// DisinviteEvent tells that a room went out of the client's list.
func DisinviteEvent(room, reason string) ServerMessage {
	return event(Event{Target: TargetRoomList, Type: EventDisinvite, Disinvite: &RoomEntry{RoomID: room, Reason: reason}})
}

func event(e Event) ServerMessage { return ServerMessage{Type: TypeEvent, Event: &e} }
