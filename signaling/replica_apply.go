package signaling

import (
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// inCallFlag is the bit of the flags that says "in the call at all".
const inCallFlag = int32(backend.FlagInCall)

// receive takes a frame of the home, or while there is none of another edge.
func (r *replica) receive(from store.NodeID, f *signalpb.Frame) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	after := r.takeLocked(from, f)
	r.mu.Unlock()
	after.run()
}

func (r *replica) takeLocked(from store.NodeID, f *signalpb.Frame) effects {
	if r.closed {
		return nil
	}
	if f.GetEpoch() == 0 {
		return r.fromEdgeLocked(from, f)
	}
	if refused := f.GetRefused(); refused != nil {
		r.refusedLocked(from, f.GetEpoch(), refused)
		return nil
	}
	if f.GetEpoch() < r.home.Epoch || from != r.home.Node {
		r.hub.toHome(from, refusal(r.id, r.home.Epoch, "", signalpb.Refused_REASON_STALE_EPOCH))
		if passing(f) {
			return r.eventLocked(f) // it was said before the move, and to us alone
		}
		return nil
	}
	if s := f.GetSnapshot(); s != nil {
		if s = r.snapshot.add(s); s == nil {
			return nil
		}
		return r.snapshotLocked(s, f.GetSeq())
	}
	if !r.attached {
		if f.GetSaid() != nil {
			return r.eventLocked(f) // what comes twice is heard once
		}
		return nil // the rest is in the snapshot
	}
	if f.GetSeq() != r.seq+1 {
		r.hub.metrics.gaps.Inc()
		r.attachLocked()
		return nil
	}
	r.seq++
	r.confirmedLocked(f.GetHeard())
	defer r.newsLocked()
	return r.eventLocked(f)
}

func (r *replica) eventLocked(f *signalpb.Frame) effects {
	switch body := f.GetBody().(type) {
	case *signalpb.Frame_Joined:
		return r.joinedLocked(body.Joined)
	case *signalpb.Frame_Left:
		return r.leftLocked(body.Left.GetSessions())
	case *signalpb.Frame_Users:
		return r.usersChangedLocked(body.Users)
	case *signalpb.Frame_AllInCall:
		return r.allInCallLocked(body.AllInCall)
	case *signalpb.Frame_Message:
		return r.messageLocked(body.Message)
	case *signalpb.Frame_Published:
		return r.publishedLocked(body.Published)
	case *signalpb.Frame_Withdrawn:
		return r.withdrawnLocked(pubID(body.Withdrawn))
	case *signalpb.Frame_Said:
		return r.heardLocked(body.Said)
	case *signalpb.Frame_Kick:
		return r.kickedLocked(body.Kick)
	case *signalpb.Frame_SwitchTo:
		return r.switchToLocked(body.SwitchTo)
	case *signalpb.Frame_Moved:
		return r.movedLocked(body.Moved)
	case *signalpb.Frame_Properties:
		return r.propertiesLocked(body.Properties)
	case *signalpb.Frame_Transient:
		return r.changedLocked(body.Transient)
	}
	return nil
}

func (r *replica) refusedLocked(from store.NodeID, epoch uint64, refused *signalpb.Refused) {
	if from != r.home.Node || epoch < r.home.Epoch && refused.GetReason() != signalpb.Refused_REASON_NOT_HOME {
		return
	}
	err := refusedError(refused.GetReason())
	if id := store.SessionID(refused.GetSession()); id != "" {
		if p := r.pending[id]; p != nil {
			p.done <- err
			delete(r.pending, id)
		}
		if refused.GetReason() == signalpb.Refused_REASON_NOT_HOME {
			r.attachLocked() // the home has forgotten this edge
		}
		return
	}
	r.attached, r.attaching = false, time.Time{}
	wait := r.refusedWaitLocked()
	if refused.GetReason() == signalpb.Refused_REASON_FULL {
		return // the next snapshot brings all, also those who want in
	}
	for id, p := range r.pending {
		p.done <- err
		delete(r.pending, id)
	}
	r.dropIfEmptyLocked()
	if !r.closed && refused.GetReason() == signalpb.Refused_REASON_NOT_HOME {
		r.hub.background(func() { r.retryIn(wait) }) // it may not have heard yet
	}
}

func (r *replica) joinedLocked(m *signalpb.Member) effects {
	id := store.SessionID(m.GetSession())
	old, known := r.members[id]
	if as := r.aheadLocked(old, m); as == m {
		delete(r.ahead, id)
		delete(r.claims.sessions, id)
	} else {
		m = as // the home is about to hear that it is elsewhere
	}
	r.members[id] = m
	var after effects
	if !known {
		r.hub.whereabouts.add(id, r)
		after = append(r.tellComingLocked(entryOf(m)), r.newcomerLocked(m)...)
	}
	if m.GetEdge() != string(r.hub.deps.Self) {
		return append(after, r.elsewhereLocked(m)...)
	}
	switch {
	case r.pending[id] != nil:
		after = append(after, r.seatLocked(r.pending[id])...)
	case r.local[id] == nil:
		r.leaveFrameLocked(id) // it did not wait so long
	}
	return after
}

// seatLocked lets a session in: the answer to its question, itself, the others,
// and who is in the call.
func (r *replica) seatLocked(p *pendingJoin) effects {
	id := p.session.id
	delete(r.pending, id)
	r.local[id] = p.session
	room := r.describeLocked(p.seat)
	messages := []wire.ServerMessage{{ID: p.messageID, Type: wire.TypeRoom, Room: &room}, r.joinLocked(id, entryOf(r.members[id]))}
	var others []wire.SessionEntry
	for _, m := range r.orderedLocked() {
		if m.GetSession() != string(id) {
			others = append(others, entryOf(m))
		}
	}
	if len(others) > 0 {
		messages = append(messages, r.joinLocked(id, others...))
	}
	messages = append(messages, r.callLocked()...)
	messages = append(messages, r.data.messages()...)
	return effects{func() {
		if !p.session.sit(p.seat) {
			r.leave(p.session) // it ended meanwhile
		}
		for _, m := range messages {
			p.session.enqueue(wire.Encode(m)) // who waits for the outcome writes it
		}
		p.done <- nil
	}}
}

func (r *replica) leftLocked(ids []string) effects {
	var left []store.SessionID
	var parted []*signalpb.Member
	for _, text := range ids {
		id := store.SessionID(text)
		if _, claimed := r.claims.sessions[id]; claimed || r.members[id] == nil {
			continue // the home is about to hear that it is here
		}
		parted = append(parted, r.members[id])
		delete(r.members, id)
		r.hub.whereabouts.remove(id, r)
		delete(r.ahead, id)
		for k, pub := range r.pubs {
			if k.session == id && !r.oursLocked(pub) {
				delete(r.pubs, k)
			}
		}
		left = append(left, id)
	}
	if len(left) == 0 {
		return nil
	}
	after := append(r.partedLocked(parted), r.tellLocked(wire.LeaveEvent(left...), "")...)
	after = append(after, r.coolLocked(left)...)
	after = append(after, r.forgottenLocked(left)...)
	return append(after, r.desksLocked("", func(s *Session) {
		for _, id := range left {
			s.desk.Gone(id)
		}
	})...)
}

func (r *replica) usersChangedLocked(users *signalpb.Users) effects {
	r.callSince = users.GetCallSince()
	var after effects
	changed := make([]*signalpb.Member, 0, len(users.GetUsers()))
	for _, u := range users.GetUsers() {
		id := store.SessionID(u.GetSession())
		m := r.members[id]
		if m == nil {
			continue
		}
		before, was := m, m.GetInCall()
		m = cloneMember(m)
		if u.InCall != nil {
			m.InCall = u.GetInCall()
		}
		if len(u.GetPublic()) > 0 {
			m.Public = u.GetPublic()
		}
		if u.GetHasPermissions() {
			m.HasPermissions, m.Permissions = true, u.GetPermissions()
		}
		if u.Flags != nil && m.GetVirtual() != nil {
			m.Virtual.Flags = u.GetFlags()
			after = append(after, r.flagsEventLocked(before, m)...)
		}
		r.members[id] = m
		if u.InCall != nil || u.Flags == nil {
			changed = append(changed, m)
		}
		if s := r.hereLocked(id); s != nil && u.GetHasPermissions() {
			after = append(after, func() { s.permit(u.GetPermissions()) })
		}
		after = append(after, r.hungUpLocked(id, was, m.GetInCall())...)
	}
	return append(after, r.usersEventLocked(changed)...)
}

// hungUpLocked ends the media of who left the call.
func (r *replica) hungUpLocked(id store.SessionID, was, now int32) effects {
	if was&inCallFlag == 0 || now&inCallFlag != 0 {
		return nil
	}
	after := r.desksLocked(id, func(s *Session) { s.desk.Gone(id) })
	if s := r.hereLocked(id); s != nil {
		after = append(after, s.desk.Reset)
	}
	return after
}

func (r *replica) allInCallLocked(all *signalpb.AllInCall) effects {
	r.callSince = all.GetCallSince()
	var after effects
	for id, m := range r.members {
		if statesItself(m) {
			continue
		}
		was := m.GetInCall()
		m = cloneMember(m)
		m.InCall = all.GetFlags()
		m.Public = withInCall(m.GetPublic(), m.GetInCall())
		r.members[id] = m
		after = append(after, r.hungUpLocked(id, was, m.GetInCall())...)
	}
	return append(after, r.tellLocked(wire.InCallAllEvent(r.id.Name, int(all.GetFlags())), "")...)
}

// heardLocked hands what a member says to our sessions.
func (r *replica) heardLocked(say *signalpb.Say) effects {
	sender := store.SessionID(say.GetSession())
	if !r.heard.first(saying{r.members[sender].GetEdge(), say.GetNumber()}) {
		return nil
	}
	switch say.GetTo() {
	case wire.ToSession, wire.ToUser: // one of the user's sessions
		s := r.local[store.SessionID(say.GetToSession())]
		if s == nil || tellsName(say) && r.namelessLocked(s.id) {
			return nil
		}
		if say.GetOffer() != "" {
			if s.as != nil {
				return nil // it listens to nobody
			}
			return effects{func() { s.desk.Offer(sender, say.GetOffer()) }}
		}
		return effects{func() { s.hears(say) }}
	case wire.ToRoom, wire.ToCall:
		frame, name := sayFrame(say), tellsName(say)
		speaker, listeners := r.local[sender], make([]*Session, 0, len(r.local))
		for id, s := range r.local {
			if s == speaker || !r.hearsLocked(id, s) || say.GetTo() == wire.ToCall && r.members[id].GetInCall()&inCallFlag == 0 {
				continue
			}
			if name && r.namelessLocked(id) {
				continue
			}
			listeners = append(listeners, s)
		}
		return effects{func() { r.spread(listeners, frame) }}
	}
	return nil
}

func (r *replica) kickedLocked(k *signalpb.Kick) effects {
	var after effects
	for _, text := range k.GetSessions() {
		id := store.SessionID(text)
		s := r.local[id]
		if s == nil {
			continue
		}
		delete(r.local, id)
		if _, claimed := r.claims.sessions[id]; claimed {
			r.claims.forget(id)
			after = append(after, r.leftLocked([]string{text})...) // the others have heard so long ago
		}
		r.forgetPubsLocked(id)
		after = append(after, func() { r.out(s, k.GetBye(), k.GetDisinvited()) })
	}
	r.dropIfEmptyLocked()
	return after
}

// out ends a session, or only its stay in the room.
func (r *replica) out(s *Session, bye, disinvited string) {
	if s.as != nil {
		s.hangUp()
		return
	}
	if disinvited == "" {
		s.end(bye)
		return
	}
	if s.leaveSeat(r) {
		s.say(wire.DisinviteEvent(r.id.Name, disinvited))
	}
}

func (r *replica) forgetPubsLocked(id store.SessionID) {
	r.claims.forget(id)
	for k := range r.pubs {
		if k.session == id {
			delete(r.pubs, k)
		}
	}
}

func (r *replica) switchToLocked(sw *signalpb.SwitchTo) effects {
	var after effects
	for id, details := range sw.GetSessions() {
		if s := r.local[store.SessionID(id)]; s != nil {
			if len(details) == 0 {
				details = nil
			}
			m := wire.SwitchToEvent(sw.GetRoomId(), details)
			after = append(after, func() { s.say(m) })
		}
	}
	return after
}
