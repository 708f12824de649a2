package signaling

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// initialBytes is how much of the transient data goes into one message.
const initialBytes = 64 << 10

// transients are the values that those who are in a room share, at its home and in
// every replica. Entries are shared with frames that are being sent, so they are
// replaced and never changed.
//
// The home puts changes in order and numbers them. As a replica has all of them up
// to its version, of two copies the later one holds: that is how a new home gets
// the data. Until all edges have shown theirs it notes what has changed since, so that
// a later copy takes nothing of that back. Values of sessions go with their session,
// without saying.
type transients struct {
	entries       map[string]*signalpb.Transient
	shared, bytes int    // keys that are not of sessions; of keys and values
	epoch, number uint64 // of the last change

	changed map[string]struct{}        // the keys that have changed at this home; nil: it knows best
	base    *signalpb.TransientVersion // of the copy that it began with
}

// newTransients are those of a home that has just begun.
func newTransients() transients { return transients{changed: make(map[string]struct{})} }

func (t *transients) all() ([]*signalpb.Transient, *signalpb.TransientVersion) {
	return values(t.entries), &signalpb.TransientVersion{Epoch: t.epoch, Number: t.number}
}

// value is what a key has, nil for nothing.
func (t *transients) value(key string) json.RawMessage { return t.entries[key].GetValue() }

// put sets a value, or with an empty one removes the key.
func (t *transients) put(e *signalpb.Transient) {
	key := e.GetKey()
	if old := t.entries[key]; old != nil {
		t.count(old, -1)
		delete(t.entries, key)
	}
	if len(e.GetValue()) == 0 {
		return
	}
	if t.entries == nil {
		t.entries = make(map[string]*signalpb.Transient)
	}
	t.count(e, 1)
	t.entries[key] = e
}

// change is put for what is a change, and no part of a copy.
func (t *transients) change(e *signalpb.Transient) {
	t.put(e)
	if t.changed != nil {
		t.changed[e.GetKey()] = struct{}{}
	}
	if len(t.changed) > wire.MaxTransientKeys {
		t.settle()
	}
}

// settle tells that no copy holds any more what this home does not know.
func (t *transients) settle() { t.changed, t.base = nil, nil }

func (t *transients) count(e *signalpb.Transient, n int) {
	t.bytes += n * sizeOf(e)
	if _, own := wire.SessionDataOf(e.GetKey()); !own {
		t.shared += n
	}
}

func sizeOf(e *signalpb.Transient) int { return len(e.GetKey()) + len(e.GetValue()) }

// fits tells whether there is room for the change.
func (t *transients) fits(e *signalpb.Transient) bool {
	old := t.entries[e.GetKey()]
	_, own := wire.SessionDataOf(e.GetKey())
	if old == nil && !own && t.shared >= wire.MaxTransientKeys {
		return false
	}
	return t.bytes-sizeOf(old)+sizeOf(e) <= wire.MaxTransientBytes
}

// forget drops what belongs to a session, and says whether there was anything.
func (t *transients) forget(id store.SessionID) (was json.RawMessage) {
	key := wire.SessionData + string(id)
	if was = t.value(key); was != nil {
		t.change(&signalpb.Transient{Key: key})
	}
	return was
}

// clear drops all of it: nobody is there any more.
func (t *transients) clear(epoch uint64) {
	if len(t.entries) > 0 {
		*t = transients{epoch: epoch, number: t.number + 1}
	}
}

// older tells whether a copy of that version is later.
func (t *transients) older(than *signalpb.TransientVersion) bool {
	return earlier(&signalpb.TransientVersion{Epoch: t.epoch, Number: t.number}, than)
}

func earlier(a, b *signalpb.TransientVersion) bool {
	if c := cmp.Compare(a.GetEpoch(), b.GetEpoch()); c != 0 {
		return c < 0
	}
	return a.GetNumber() < b.GetNumber()
}

// lacks tells whether a copy of that version, of one of the homes before, holds what
// this home does not know.
func (t *transients) lacks(v *signalpb.TransientVersion) bool {
	if t.changed == nil {
		return t.older(v)
	}
	return earlier(t.base, v)
}

// merge takes a copy over which this home lacks, but for the keys that have changed
// since. The result is later than either.
func (t *transients) merge(list []*signalpb.Transient, v *signalpb.TransientVersion, members map[store.SessionID]*signalpb.Member, epoch uint64) {
	own := *t
	*t = transients{epoch: v.GetEpoch(), number: v.GetNumber()}
	for key := range own.changed {
		if e := own.entries[key]; e != nil {
			t.put(e)
		}
	}
	t.add(list, func(key string) bool {
		_, changed := own.changed[key]
		return !changed
	}, members)
	if len(own.changed) > 0 {
		t.epoch, t.number = max(epoch, v.GetEpoch()), max(own.number, v.GetNumber())+1
	}
	if t.changed = own.changed; t.changed != nil {
		t.base = v
	}
}

// takeFrom makes it a copy, of what is of the members only.
func (t *transients) takeFrom(list []*signalpb.Transient, v *signalpb.TransientVersion, members map[store.SessionID]*signalpb.Member) {
	*t = transients{epoch: v.GetEpoch(), number: v.GetNumber()}
	t.add(list, func(string) bool { return true }, members)
}

// add puts what is wanted of a copy, what is of the members only.
func (t *transients) add(list []*signalpb.Transient, wanted func(key string) bool, members map[store.SessionID]*signalpb.Member) {
	for _, e := range list {
		if id, own := wire.SessionDataOf(e.GetKey()); own && members[id] == nil {
			continue
		}
		if wanted(e.GetKey()) && t.fits(e) {
			t.put(e)
		}
	}
}

// messages tell somebody who enters what there is.
func (t *transients) messages() []wire.ServerMessage {
	var out []wire.ServerMessage
	data, size := make(map[string]json.RawMessage), 0
	for key, e := range t.entries {
		if size += sizeOf(e); size > initialBytes && len(data) > 0 {
			out = append(out, wire.TransientData(data))
			data, size = make(map[string]json.RawMessage), sizeOf(e)
		}
		data[key] = e.GetValue()
	}
	if len(data) > 0 {
		out = append(out, wire.TransientData(data))
	}
	return out
}

// expired are the keys whose time is over.
func (t *transients) expired(now time.Time) []string {
	var keys []string
	for key, e := range t.entries {
		if e.GetExpires() != 0 && now.UnixMilli() >= e.GetExpires() {
			keys = append(keys, key)
		}
	}
	return keys
}

// expiry is the end of a time to live, rounded up; 0 for none.
func expiry(ttl time.Duration) int64 {
	if ttl <= 0 {
		return 0
	}
	return time.Now().Add(min(ttl, maxTTL) + time.Millisecond - 1).UnixMilli()
}

// maxTTL is longer than any meeting.
const maxTTL = 30 * 24 * time.Hour

// sameJSON tells whether two values mean the same.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, okX := decoded(a)
	y, okY := decoded(b)
	return okX && okY && reflect.DeepEqual(x, y)
}

// decoded keeps numbers as they are written: as floats, long ones would be the same.
func decoded(raw json.RawMessage) (v any, ok bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err := d.Decode(&v)
	return v, err == nil
}
