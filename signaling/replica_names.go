package signaling

import (
	"slices"
	"sync"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// namelessLocked tells whether a session is not to know what the others are called.
func (r *replica) namelessLocked(id store.SessionID) bool {
	return slices.Contains(r.members[id].GetPermissions(), backend.PermissionHideNames)
}

// joinLocked is what one session hears of those who are there.
func (r *replica) joinLocked(to store.SessionID, entries ...wire.SessionEntry) wire.ServerMessage {
	if r.namelessLocked(to) {
		entries = wire.Nameless(entries)
	}
	return wire.JoinEvent(entries...)
}

// hearing is what a session hears, encoded once for all who hear the same.
type hearing struct {
	session *Session
	frame   func() []byte
}

// cameLocked is what all our sessions hear of who came, but for one.
func (r *replica) cameLocked(except store.SessionID, entries ...wire.SessionEntry) (all []hearing) {
	named := sync.OnceValue(func() []byte { return wire.Encode(wire.JoinEvent(entries...)) })
	nameless := sync.OnceValue(func() []byte { return wire.Encode(wire.JoinEvent(wire.Nameless(entries)...)) })
	for id, s := range r.local {
		if id == except || !r.hearsLocked(id, s) {
			continue
		}
		frame := named
		if r.namelessLocked(id) {
			frame = nameless
		}
		all = append(all, hearing{s, frame})
	}
	return all
}

// tellsName tells whether somebody says what it is called now.
func tellsName(say *signalpb.Say) bool { return !say.GetControl() && wire.TellsName(say.GetData()) }
