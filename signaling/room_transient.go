package signaling

import (
	"fmt"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// toTransient is the recipient of a Say that changes the transient data. An older
// home passes it on to all, and nobody listens.
const toTransient = "transient"

// changeOf is change for a member, whose edge has looked at its permissions. What
// belongs to a session is for that session only.
func (r *room) changeOf(m *signalpb.Member, change *signalpb.Transient) {
	if id, own := wire.SessionDataOf(change.GetKey()); own && string(id) != m.GetSession() {
		return
	}
	if err := r.change(change); err != nil {
		r.hub.metrics.overflow("transient")
		r.hub.toSession(r.id.Backend, store.SessionID(m.GetSession()), wire.Encode(wire.ErrorReply(change.GetId(), err)))
	}
}

// change changes the transient data and tells the edges. What is the same as
// before only gets another time to live, which clients do not hear of.
func (r *room) change(c *signalpb.Transient) error {
	old := r.data.entries[c.GetKey()]
	same := sameJSON(old.GetValue(), c.GetValue())
	id, own := wire.SessionDataOf(c.GetKey())
	switch {
	case same && old.GetExpires() == c.GetExpires(), own && r.members[id] == nil:
		return nil
	case !r.data.fits(c):
		return wire.ErrTransientLimit
	}
	if err := wire.CheckTransient(c.GetKey(), c.GetValue(), 0); err != nil {
		return err
	}
	r.data.epoch, r.data.number = r.home.Epoch, r.data.number+1
	now := &signalpb.Transient{Key: c.GetKey(), Value: c.GetValue(), Expires: c.GetExpires(), Number: r.data.number}
	r.data.change(now)
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Transient{Transient: now}})
	return nil
}

// changeOfBackend is change for the backend. Where nobody is there are no data.
func (r *room) changeOfBackend(t *backend.Transient) error {
	if len(r.members) == 0 {
		return nil
	}
	c := &signalpb.Transient{Key: t.Key}
	if !t.Removes() {
		c.Value, c.Expires = t.Value, expiry(t.TTL)
	}
	if err := r.change(c); err != nil {
		return fmt.Errorf("%w: %w", backend.ErrBadRequest, err)
	}
	return nil
}

// dropExpired removes what has lived for its time.
func (r *room) dropExpired(now time.Time) {
	for _, key := range r.data.expired(now) {
		_ = r.change(&signalpb.Transient{Key: key}) // there is room for less
	}
}

// takeData takes over from an edge what it knows of the transient data and this home,
// which is new, does not. The other edges hear of it in their snapshots; those that
// have got theirs, now.
func (r *room) takeData(from store.NodeID, a *signalpb.Attach) {
	ours := a.GetSeqEpoch() == r.home.Epoch && a.GetSeqLife() == r.life // all that it has is of this home
	if ours || !r.data.lacks(a.GetTransientVersion()) {
		return
	}
	before := r.data.entries
	r.data.merge(a.GetTransient(), a.GetTransientVersion(), r.members, r.home.Epoch)
	tell := func(e *signalpb.Transient) {
		// Without a number: a part of it makes no later copy.
		r.emitAll(from, &signalpb.Frame{Body: &signalpb.Frame_Transient{Transient: &signalpb.Transient{
			Key: e.GetKey(), Value: e.GetValue(), Expires: e.GetExpires(),
		}}})
	}
	for key := range before {
		if r.data.entries[key] == nil {
			tell(&signalpb.Transient{Key: key})
		}
	}
	for _, e := range r.data.entries {
		if !sameJSON(before[e.GetKey()].GetValue(), e.GetValue()) {
			tell(e)
		}
	}
}
