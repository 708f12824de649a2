package signaling

import (
	"encoding/json"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// notify does what a backend asks of the room, and says who had to leave. It
// runs on the room's goroutine.
func (r *room) notify(req backend.Request) (out []store.SessionID, err error) {
	if err := r.notYet(); err != nil {
		return nil, err
	}
	if !r.acts() {
		return nil, ErrDetached
	}
	switch req.Type {
	case backend.TypeInCall:
		if req.InCall.All {
			r.inCallAll(req.InCall.InCall)
			return nil, nil
		}
		return nil, r.update(req.InCall.Changed, req.InCall.Users)
	case backend.TypeParticipants:
		return nil, r.update(req.Participants.Changed, req.Participants.Users)
	case backend.TypeMessage:
		r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Message{Message: req.Message.Data}})
	case backend.TypeDelete:
		out = keys(r.members)
		r.kick(out, &signalpb.Kick{Disinvited: wire.ReasonDeleted})
	case backend.TypeDisinvite:
		out = r.disinvited(req.Disinvite)
		r.kick(out, &signalpb.Kick{Disinvited: wire.ReasonDisinvited})
	case backend.TypeSwitchTo:
		r.switchTo(req.SwitchTo)
	case backend.TypeUpdate:
		r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Properties{Properties: req.Update.Properties}})
	case backend.TypeTransient:
		return nil, r.changeOfBackend(req.Transient)
	}
	return out, nil
}

// update takes over what the backend says of participants. What changed holds;
// of the whole list, which may be older than what another request has brought
// since, only those are taken that nothing is known of.
func (r *room) update(changed, all []backend.Participant) error {
	bySession := make(map[string]store.SessionID, len(r.members))
	for id, m := range r.members {
		if m.GetRoomSession() != "" {
			bySession[m.GetRoomSession()] = id
		}
	}
	states := make(map[store.SessionID]*signalpb.UserState, len(changed))
	take := func(p backend.Participant, known bool) {
		id, here := bySession[string(p.SessionID)]
		if !p.Present() || !here || known && len(r.members[id].GetPublic()) > 0 {
			return
		}
		states[id] = r.state(id, p)
	}
	for _, p := range changed {
		take(p, false)
	}
	told := len(states)
	for _, p := range all {
		take(p, true)
	}
	if len(states) == 0 {
		if len(changed) > 0 {
			return ErrNoSession
		}
		return nil
	}
	r.noteCall()
	users := &signalpb.Users{CallSince: millis(r.callSince)}
	for _, u := range states {
		users.Users = append(users.Users, u)
	}
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Users{Users: users}})
	if told == 0 && len(changed) > 0 {
		return ErrNoSession
	}
	return nil
}

// state puts what the backend says of a member into the member.
func (r *room) state(id store.SessionID, p backend.Participant) *signalpb.UserState {
	m := cloneMember(r.members[id])
	u := &signalpb.UserState{Session: string(id)}
	if p.InCall != nil && !statesItself(m) {
		m.InCall = int32(*p.InCall)
		u.InCall = &m.InCall
	}
	if p.Permissions != nil {
		u.HasPermissions, u.Permissions = true, p.Permissions
		m.HasPermissions, m.Permissions = true, p.Permissions
	}
	public := p.Public(id)
	if p.InCall == nil || statesItself(m) {
		// Clients take a missing flag for none.
		public["inCall"] = json.RawMessage(itoa(m.GetInCall()))
	}
	if m.GetVirtual() != nil {
		public["virtual"] = json.RawMessage("true")
	}
	if raw, err := json.Marshal(public); err == nil {
		m.Public, u.Public = raw, raw
	}
	r.members[id] = m
	return u
}

func (r *room) inCallAll(flags backend.Flags) {
	for id, m := range r.members {
		if statesItself(m) {
			continue
		}
		m = cloneMember(m)
		m.InCall = int32(flags)
		m.Public = withInCall(m.GetPublic(), m.GetInCall())
		r.members[id] = m
	}
	r.noteCall()
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_AllInCall{AllInCall: &signalpb.AllInCall{
		Flags: int32(flags), CallSince: millis(r.callSince),
	}}})
}

// withInCall sets the flags in the entry that clients see.
func withInCall(public []byte, flags int32) []byte {
	if len(public) == 0 {
		return nil
	}
	var entry wire.Participant
	if json.Unmarshal(public, &entry) != nil || entry == nil {
		return public
	}
	entry["inCall"] = json.RawMessage(itoa(flags))
	raw, err := json.Marshal(entry)
	if err != nil {
		return public
	}
	return raw
}

// disinvited are the sessions that a request means.
func (r *room) disinvited(d *backend.Disinvite) []store.SessionID {
	users := make(map[string]bool, len(d.UserIDs))
	for _, id := range d.UserIDs {
		users[id] = true
	}
	sessions := make(map[string]bool, len(d.SessionIDs))
	for _, id := range d.SessionIDs {
		sessions[string(id)] = true
	}
	var out []store.SessionID
	for id, m := range r.members {
		if m.GetUserId() != "" && users[m.GetUserId()] || m.GetRoomSession() != "" && sessions[m.GetRoomSession()] {
			out = append(out, id)
		}
	}
	return out
}

func (r *room) switchTo(s *backend.SwitchTo) {
	byEdge := make(map[store.NodeID]map[string][]byte)
	for id, m := range r.members {
		details, asked := s.Sessions[wire.RoomSessionID(m.GetRoomSession())]
		if !asked || m.GetRoomSession() == "" {
			continue
		}
		at := store.NodeID(m.GetEdge())
		if byEdge[at] == nil {
			byEdge[at] = make(map[string][]byte)
		}
		byEdge[at][string(id)] = details
	}
	for at, sessions := range byEdge {
		if e := r.edges[at]; e != nil && e.attached {
			r.emit(at, e, &signalpb.Frame{Body: &signalpb.Frame_SwitchTo{SwitchTo: &signalpb.SwitchTo{
				RoomId: s.RoomID, Sessions: sessions,
			}}})
		}
	}
}

// status says who is in the room, as a backend knows them.
func (r *room) status() (since time.Time, members []*signalpb.Member) {
	for _, m := range r.members {
		if !statesItself(m) {
			members = append(members, m)
		}
	}
	return r.callSince, members
}
