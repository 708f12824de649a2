package signaling

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Who is in the call is told in two ways. Web clients keep those whom an update
// does not name, so they get what has changed. Apps take an update for the whole
// list and drop whom it does not name (Talk's for iOS does, for Android did until 2026),
// so they get all of it. In a room of hundreds that whole list at each change would be
// more than anybody can read: there it comes less often.
//
// Who leaves the room leaves the call. Web clients know; to those apps everybody goes on
// being in the call of whom no list says otherwise. So the next list says so.
const (
	listAtOnce   = 32                   // a list of so many comes at each change
	listPerEntry = 5 * time.Millisecond // otherwise one of 200 each second
	listAtMost   = 2 * time.Second
)

// usersEventLocked tells our sessions what has changed about members.
func (r *replica) usersEventLocked(changed []*signalpb.Member) effects {
	if len(changed) == 0 || len(r.local) == 0 {
		return nil
	}
	sortMembers(changed)
	return append(r.usersToLocked(changed, true), r.listNowLocked()...)
}

// partedLocked tells the apps among our sessions that those are not in the call any
// more who have left the room.
func (r *replica) partedLocked(left []*signalpb.Member) effects {
	before := len(r.gone)
	for _, m := range left {
		if m.GetInCall()&inCallFlag != 0 {
			m = cloneMember(m)
			m.InCall, m.Public = 0, withInCall(m.GetPublic(), 0)
			r.gone = append(r.gone, m)
		}
	}
	if len(r.gone) == before {
		return nil
	}
	return r.listNowLocked()
}

// listNowLocked gives apps the whole list, or sees to it that they get it.
func (r *replica) listNowLocked() effects {
	if wait := time.Until(r.listed.Add(r.listIntervalLocked())); wait > 0 {
		r.listSoonLocked(wait)
		return nil
	}
	return r.listLocked()
}

// listLocked is that list, with those who have left since the last one.
func (r *replica) listLocked() effects {
	list := r.orderedLocked()
	for _, m := range r.gone {
		if r.members[store.SessionID(m.GetSession())] == nil { // it is not back
			list = append(list, m)
		}
	}
	r.gone = nil
	return r.usersToLocked(list, false)
}

// usersToLocked sends those members of the list whose state in the call is
// known, to the pages among our sessions or to the apps.
func (r *replica) usersToLocked(list []*signalpb.Member, pages bool) effects {
	var to []*Session
	for id, s := range r.local {
		if s.page.Load() == pages && r.hearsLocked(id, s) {
			to = append(to, s)
		}
	}
	if len(to) == 0 {
		return nil
	}
	users := participants(list)
	if len(users) == 0 {
		return nil
	}
	if !pages {
		r.listed = time.Now()
	}
	frame := wire.Encode(wire.ParticipantsEvent(r.id.Name, users))
	after := make(effects, 0, len(to))
	for _, s := range to {
		after = append(after, func() { s.send(frame) })
	}
	return after
}

func (r *replica) listIntervalLocked() time.Duration {
	if len(r.members) <= listAtOnce {
		return 0
	}
	return min(time.Duration(len(r.members))*listPerEntry, listAtMost)
}

// listSoonLocked sees to it that apps get a list when they may have another one.
func (r *replica) listSoonLocked(wait time.Duration) {
	if r.listing {
		return
	}
	r.listing = true
	r.hub.background(func() {
		select {
		case <-time.After(wait):
			r.list()
		case <-r.hub.ctx.Done():
		}
	})
}

func (r *replica) list() {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	r.listing = false
	after := r.listLocked()
	r.mu.Unlock()
	after.run()
}

// tellCall tells a session that was away who is in the call.
func (r *replica) tellCall(s *Session) { r.tellAgain(s, r.callLocked) }

// tellAll tells a session that has begun anew all that it needs to know of the room.
func (r *replica) tellAll(s *Session) {
	r.tellAgain(s, func() []wire.ServerMessage { return r.pictureLocked(s.id) })
}

// tellAgain is in order with the changes: an older list after them would undo them.
func (r *replica) tellAgain(s *Session, whatLocked func() []wire.ServerMessage) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	messages := whatLocked()
	r.mu.Unlock()
	for _, m := range messages {
		s.say(m)
	}
}

// callLocked is who is in the call, if there is one, and the flags of those on the phone.
func (r *replica) callLocked() []wire.ServerMessage {
	users := participants(r.orderedLocked())
	if len(users) == 0 {
		return nil
	}
	return append([]wire.ServerMessage{wire.ParticipantsEvent(r.id.Name, users)}, r.flagsLocked()...)
}

// orderedLocked are the members as they are listed.
func (r *replica) orderedLocked() []*signalpb.Member {
	list := make([]*signalpb.Member, 0, len(r.members))
	for _, m := range r.members {
		list = append(list, m)
	}
	sortMembers(list)
	return list
}

func sortMembers(list []*signalpb.Member) {
	slices.SortFunc(list, func(a, b *signalpb.Member) int {
		switch {
		case a.GetNumber() < b.GetNumber():
			return -1
		case a.GetNumber() > b.GetNumber():
			return 1
		}
		return 0
	})
}

// participants are the entries of those whose state in the call is known.
func participants(list []*signalpb.Member) []wire.Participant {
	var users []wire.Participant
	for _, m := range list {
		var p wire.Participant
		if len(m.GetPublic()) > 0 && json.Unmarshal(m.GetPublic(), &p) == nil && p != nil {
			users = append(users, p)
		}
	}
	return users
}
