package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/talkd/talkd/store"
)

// What happens to transient data: values that those who are in a room share.
const (
	TransientSet     = "set"
	TransientRemove  = "remove"
	TransientInitial = "initial" // all of it, to who enters, perhaps in several messages
)

// SessionData begins the keys that belong to one session each: its id follows.
const SessionData = "sd:"

// Limits of one value, in bytes, and of all of a room: values of sessions are one for each
// session, and count for the bytes only.
const (
	MaxTransientKey   = maxSessionID + len(SessionData)
	MaxTransientValue = 32 << 10
	MaxTransientKeys  = 1000
	MaxTransientBytes = 1 << 20
)

// ChangeTransient asks to change a value. TTL is in nanoseconds, 0 for as long as
// somebody is in the room.
type ChangeTransient struct {
	Type  string          `json:"type"`
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value,omitempty"`
	TTL   time.Duration   `json:"ttl,omitempty"`
}

// Removes tells whether there is no value afterwards: null is none.
func (c *ChangeTransient) Removes() bool { return c.Type == TransientRemove || !isPresent(c.Value) }

func (c *ChangeTransient) validate() error {
	if c.Type != TransientSet && c.Type != TransientRemove {
		return fmt.Errorf("%w: transient type %.32q", ErrFormat, c.Type)
	}
	return CheckTransient(c.Key, c.Value, c.TTL)
}

// CheckTransient bounds a value and its key.
func CheckTransient(key string, value json.RawMessage, ttl time.Duration) error {
	if err := checkText("transient key", key, 1, MaxTransientKey); err != nil {
		return err
	}
	if len(value) > MaxTransientValue {
		return fmt.Errorf("%w: transient value longer than %d", ErrTransientLimit, MaxTransientValue)
	}
	if ttl < 0 {
		return fmt.Errorf("%w: transient ttl less than nothing", ErrFormat)
	}
	return nil
}

// SessionDataOf is the session that a key belongs to, if it is one of those.
func SessionDataOf(key string) (of store.SessionID, is bool) {
	id, is := strings.CutPrefix(key, SessionData)
	return store.SessionID(id), is
}

// Transient tells of a change of transient data, or of all of it.
type Transient struct {
	Type     string                     `json:"type"`
	Key      string                     `json:"key,omitempty"`
	Value    json.RawMessage            `json:"value,omitempty"`
	OldValue json.RawMessage            `json:"oldvalue,omitempty"`
	Data     map[string]json.RawMessage `json:"data,omitempty"`
}

// TransientChange tells that a value is another one now; without a value, that it
// is removed. Without an old one there was none.
func TransientChange(key string, value, old json.RawMessage) ServerMessage {
	t := &Transient{Type: TransientSet, Key: key, Value: value, OldValue: old}
	if len(value) == 0 {
		t.Type = TransientRemove
	}
	return ServerMessage{Type: TypeTransient, Transient: t}
}

// TransientData tells what there is.
func TransientData(data map[string]json.RawMessage) ServerMessage {
	return ServerMessage{Type: TypeTransient, Transient: &Transient{Type: TransientInitial, Data: data}}
}
