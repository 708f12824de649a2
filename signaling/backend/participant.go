package backend

import (
	"encoding/json"
	"maps"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Flags of a participant in a call, as Nextcloud Talk numbers them.
type Flags int

// The bits of Flags.
const (
	FlagInCall Flags = 1
	FlagAudio  Flags = 2
	FlagVideo  Flags = 4
	FlagPhone  Flags = 8
)

// InCall tells whether the participant is in the call at all.
func (f Flags) InCall() bool { return f&FlagInCall != 0 }

// UnmarshalJSON takes a number, and the true and false of old instances.
func (f *Flags) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true":
		*f = FlagInCall
		return nil
	case "false", "null":
		*f = 0
		return nil
	}
	var n int32
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*f = Flags(n)
	return nil
}

// Participant is one entry in the lists of incall and participants. What the
// server needs is typed; all of it, whatever it may be, is for the clients.
type Participant struct {
	SessionID   wire.RoomSessionID // "" or "0": not in the room
	UserID      string
	InCall      *Flags   // nil if not sent
	Permissions []string // nil if not sent

	raw wire.Participant
}

// Names of the fields that are not the clients' business alone.
const (
	fieldSessionID   = "sessionId"
	fieldNextcloudID = "nextcloudSessionId"
	fieldUserID      = "userId"
	fieldInCall      = "inCall"
	fieldPermissions = "permissions"
)

// UnmarshalJSON reads the entry and keeps all of it. A typed field of a wrong
// type counts as not sent: PHP is free with types, and one odd entry must not
// cost the others their update.
func (p *Participant) UnmarshalJSON(b []byte) error {
	var raw wire.Participant
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*p = Participant{raw: raw}
	field(raw, fieldSessionID, &p.SessionID)
	field(raw, fieldUserID, &p.UserID)
	field(raw, fieldInCall, &p.InCall)
	field(raw, fieldPermissions, &p.Permissions)
	return nil
}

// MarshalJSON writes what was read.
func (p Participant) MarshalJSON() ([]byte, error) { return json.Marshal(p.raw) }

// Public is the entry as clients get it: sessionId is that of the signaling
// session, the instance's own moves to nextcloudSessionId.
func (p Participant) Public(id store.SessionID) wire.Participant {
	public := maps.Clone(p.raw)
	if public == nil {
		public = make(wire.Participant, 2)
	}
	public[fieldNextcloudID] = quote(string(p.SessionID))
	public[fieldSessionID] = quote(string(id))
	return public
}

// Present tells whether the participant has a session in the room.
func (p Participant) Present() bool { return p.SessionID != "" && p.SessionID != "0" }

func field[T any](raw wire.Participant, name string, into *T) {
	b, ok := raw[name]
	if !ok {
		return
	}
	var v T
	if json.Unmarshal(b, &v) == nil {
		*into = v
	}
}

// quote writes a string as JSON; a string can always be written.
func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		return json.RawMessage(`""`)
	}
	return b
}
