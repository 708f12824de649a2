package signaling

import (
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// restate takes what an internal client says of itself or of a virtual session.
func (r *room) restate(from store.NodeID, st *signalpb.State) {
	id := store.SessionID(st.GetSession())
	old := r.members[id]
	if !statesItself(old) || old.GetEdge() != string(from) {
		return
	}
	m := cloneMember(old)
	u := &signalpb.UserState{Session: string(id)}
	if old.GetInCall() != st.GetInCall() {
		m.InCall = st.GetInCall()
		m.Public = withInCall(m.GetPublic(), m.GetInCall())
		u.InCall, u.Public = &m.InCall, m.GetPublic()
	}
	if v := m.GetVirtual(); v != nil && v.GetFlags() != st.GetFlags() {
		v.Flags = st.GetFlags()
		u.Flags = &v.Flags
	}
	if u.InCall == nil && u.Flags == nil {
		return
	}
	r.members[id] = m
	r.noteCall()
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Users{Users: &signalpb.Users{
		Users: []*signalpb.UserState{u}, CallSince: millis(r.callSince),
	}}})
}

// ownedBy tells whether a member is a virtual session of that one.
func ownedBy(m *signalpb.Member, owner string) bool {
	return m.GetVirtual() != nil && owner != "" && m.GetVirtual().GetOwner() == owner
}
