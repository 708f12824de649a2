package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// changedLocked is the home's word that the transient data have changed.
func (r *replica) changedLocked(c *signalpb.Transient) effects {
	if c.GetNumber() > 0 {
		r.data.epoch, r.data.number = r.home.Epoch, c.GetNumber()
	}
	old := r.data.value(c.GetKey())
	r.data.put(c)
	if sameJSON(old, c.GetValue()) {
		return nil // its time to live is another one
	}
	return r.tellLocked(wire.TransientChange(c.GetKey(), c.GetValue(), old), "")
}

// forgottenLocked drops the data of sessions that have left.
func (r *replica) forgottenLocked(left []store.SessionID) (after effects) {
	for _, id := range left {
		if was := r.data.forget(id); was != nil {
			after = append(after, r.tellLocked(wire.TransientChange(wire.SessionData+string(id), nil, was), "")...)
		}
	}
	return after
}

// dataOfSnapshotLocked takes over the data that the home has, and tells our
// sessions what has changed. An older home has none, and those of here stay.
func (r *replica) dataOfSnapshotLocked(s *signalpb.Snapshot) (after effects) {
	before := r.data
	if before.older(s.GetTransientVersion()) {
		r.data.takeFrom(s.GetTransient(), s.GetTransientVersion(), r.members)
	} else {
		list, version := before.all()
		r.data.takeFrom(list, version, r.members) // some may have left
	}
	tell := func(key string) {
		old, now := before.value(key), r.data.value(key)
		if !sameJSON(old, now) {
			after = append(after, r.tellLocked(wire.TransientChange(key, now, old), "")...)
		}
	}
	changed := append(keys(before.entries), keys(r.data.entries)...)
	slices.Sort(changed)
	for _, key := range slices.Compact(changed) {
		tell(key)
	}
	return after
}
