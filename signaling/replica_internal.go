package signaling

import (
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// restate tells the home what a session of ours says of itself. While there is none it
// waits for the next snapshot.
func (r *replica) restate(id store.SessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restateLocked(id)
}

func (r *replica) restateLocked(id store.SessionID) {
	s, m := r.local[id], r.members[id]
	if s == nil || !r.attached || !statesItself(m) {
		return
	}
	r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_State{State: &signalpb.State{
		Session: string(id), InCall: s.own.inCall.Load(), Flags: s.own.flags.Load(),
	}}})
}

// stated is the member that a session is, as its client says now: the home may not have
// heard that, or this edge not that the home has.
func (s *Session) stated(m *signalpb.Member) *signalpb.Member {
	inCall, flags := s.own.inCall.Load(), s.own.flags.Load()
	unheard := statesItself(m) && (m.GetInCall() != inCall || m.GetVirtual().GetFlags() != flags)
	if !unheard && m.GetFederated() == s.who.federated && m.GetVia() == s.who.via {
		return m
	}
	m = cloneMember(m)
	m.Federated, m.Via = s.who.federated, s.who.via // an older home has not passed that on
	if !unheard {
		return m
	}
	m.InCall, m.Public = inCall, withInCall(m.GetPublic(), inCall)
	if v := m.GetVirtual(); v != nil {
		v.Flags = flags
	}
	return m
}

// restateAllLocked tells a home what it has not heard.
func (r *replica) restateAllLocked() {
	for id, s := range r.local {
		m := r.members[id]
		if statesItself(m) && (m.GetInCall() != s.own.inCall.Load() || m.GetVirtual().GetFlags() != s.own.flags.Load()) {
			r.restateLocked(id)
		}
	}
}

// newcomerLocked tells our sessions what is known of somebody who has just come and
// states itself: that it is in the call, and its flags.
func (r *replica) newcomerLocked(m *signalpb.Member) effects {
	if !statesItself(m) {
		return nil
	}
	return append(r.usersEventLocked([]*signalpb.Member{m}), r.flagsEventLocked(nil, m)...)
}

// flagsEventLocked tells our sessions the flags of a virtual session if they are other
// than before.
func (r *replica) flagsEventLocked(before, now *signalpb.Member) effects {
	flags := now.GetVirtual().GetFlags()
	if before.GetVirtual().GetFlags() == flags {
		return nil
	}
	return r.tellLocked(wire.FlagsEvent(r.id.Name, store.SessionID(now.GetSession()), flags), "")
}

// flagsLocked are the flags that somebody who comes must know.
func (r *replica) flagsLocked() []wire.ServerMessage {
	var all []wire.ServerMessage
	for _, m := range r.orderedLocked() {
		if flags := m.GetVirtual().GetFlags(); flags != 0 {
			all = append(all, wire.FlagsEvent(r.id.Name, store.SessionID(m.GetSession()), flags))
		}
	}
	return all
}
