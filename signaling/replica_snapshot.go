package signaling

import (
	"bytes"
	"slices"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// snapshotLocked takes over what the home knows, and tells our sessions what
// they do not know yet.
func (r *replica) snapshotLocked(s *signalpb.Snapshot, seq uint64) effects {
	old := r.members
	r.attached, r.attaching, r.seq, r.seqEpoch = true, time.Time{}, seq, r.home.Epoch
	r.seqLife, r.refusals, r.again = s.GetLife(), 0, time.Time{}
	r.callSince = s.GetCallSince()
	r.members = r.membersOfSnapshotLocked(s)
	for id := range r.members {
		r.hub.whereabouts.add(id, r)
	}
	defer r.newsLocked()
	clear(r.hushed)
	r.parting = time.Time{} // those are told of below

	var after effects
	for _, f := range s.GetMissed() {
		if k := f.GetKick(); k != nil {
			after = append(after, r.kickedLocked(k)...) // first, so that they hear the reason
		}
	}
	var left []store.SessionID
	var parted []*signalpb.Member
	for id, m := range old {
		if r.members[id] == nil {
			r.hub.whereabouts.remove(id, r)
			left, parted = append(left, id), append(parted, m)
		}
	}
	for id, s := range r.local {
		if m := r.members[id]; m != nil && m.GetEdge() != string(r.hub.deps.Self) {
			after = append(after, r.elsewhereLocked(m)...)
			continue
		}
		if r.members[id] == nil {
			// The home has another session of the same participant.
			delete(r.local, id)
			r.forgetPubsLocked(id)
			after = append(after, func() { r.out(s, wire.ByeRoomSession, "") })
		}
	}
	if len(left) > 0 {
		after = append(after, r.partedLocked(parted)...)
		after = append(after, r.tellLocked(wire.LeaveEvent(left...), "")...)
		after = append(after, r.coolLocked(left)...)
	}
	var joined []wire.SessionEntry
	var changed []*signalpb.Member
	for _, m := range r.orderedLocked() {
		id := store.SessionID(m.GetSession())
		before := old[id]
		if before == nil {
			joined = append(joined, entryOf(m))
		}
		if before.GetInCall() != m.GetInCall() || !bytes.Equal(before.GetPublic(), m.GetPublic()) {
			changed = append(changed, m)
		}
		after = append(after, r.hungUpLocked(id, before.GetInCall(), m.GetInCall())...)
		after = append(after, r.flagsEventLocked(before, m)...)
		if here := r.hereLocked(id); here != nil && m.GetHasPermissions() &&
			(!before.GetHasPermissions() || !slices.Equal(before.GetPermissions(), m.GetPermissions())) {
			after = append(after, func() { here.permit(m.GetPermissions()) })
		}
		if m.GetEdge() == string(r.hub.deps.Self) && r.local[id] == nil && r.pending[id] == nil {
			r.leaveFrameLocked(id)
		}
	}
	if len(joined) > 0 {
		for _, other := range r.cameLocked("", joined...) {
			after = append(after, func() { other.session.send(other.frame()) })
		}
	}
	after = append(after, r.usersEventLocked(changed)...)
	after = append(after, r.dataOfSnapshotLocked(s)...)
	after = append(after, r.desksLocked("", func(s *Session) {
		for _, id := range left {
			s.desk.Gone(id)
		}
	})...)
	after = append(after, r.pubsOfSnapshotLocked(s)...)
	for _, f := range s.GetMissed() {
		after = append(after, r.eventLocked(f)...)
	}
	r.claimAllLocked()
	r.restateAllLocked()
	for id, p := range r.pending {
		if r.members[id].GetEdge() == string(r.hub.deps.Self) {
			after = append(after, r.seatLocked(p)...)
		} else {
			r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Join{Join: p.member}})
		}
	}
	r.dropIfEmptyLocked()
	return after
}

// membersOfSnapshotLocked are the members of a snapshot, but for what this edge
// knows and the home is about to hear: that a session has moved.
func (r *replica) membersOfSnapshotLocked(s *signalpb.Snapshot) map[store.SessionID]*signalpb.Member {
	members := make(map[store.SessionID]*signalpb.Member, len(s.GetMembers()))
	for _, m := range s.GetMembers() {
		id := store.SessionID(m.GetSession())
		if members[id] = r.aheadLocked(r.members[id], m); members[id] == m {
			delete(r.claims.sessions, id)
			delete(r.ahead, id)
		}
	}
	for id := range r.claims.sessions {
		if members[id] == nil && r.members[id] != nil {
			members[id] = r.members[id]
		}
	}
	for id := range r.ahead {
		if members[id] == nil {
			delete(r.ahead, id)
		}
	}
	return members
}

// pubsOfSnapshotLocked takes over what others publish, and tells the home what
// has changed here since it was asked.
func (r *replica) pubsOfSnapshotLocked(s *signalpb.Snapshot) effects {
	var after effects
	theirs := make(map[pubKey]media.Publication, len(s.GetPublications()))
	for _, raw := range s.GetPublications() {
		if pub, err := decodePublication(raw); err == nil {
			theirs[pubKey{pub.ID.Session, pub.ID.Kind}] = pub
		}
	}
	self := r.hub.deps.Self
	for k, pub := range r.pubs {
		got, there := theirs[k]
		switch {
		case r.oursLocked(pub) && got.ID != pub.ID:
			r.claims.pubs[k] = struct{}{}
		case r.oursLocked(pub):
			delete(r.claims.pubs, k)
		case there || !r.ahead[k.session].IsZero() && r.members[k.session].GetEdge() == string(pub.Edge):
			// Or the home is about to hear of it.
		default:
			delete(r.pubs, k)
			after = append(after, r.desksLocked("", func(s *Session) { s.desk.Withdrawn(pub.ID) })...)
		}
	}
	for k, pub := range theirs {
		if pub.Edge == self && r.members[k.session].GetEdge() == string(self) {
			if _, here := r.pubs[k]; !here {
				r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Withdraw{Withdraw: pubIDFrame(pub.ID)}})
			}
			continue
		}
		after = append(after, r.registerLocked(pub)...)
	}
	return after
}
