package signaling

import (
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// maxMembers bounds a room.
const maxMembers = 10_000

// maxOut bounds how many are remembered that were thrown out of a room.
const maxOut = 2 * maxMembers

// out is a member that was thrown out.
type out struct {
	number uint64 // of the member that had come last then
	why    *signalpb.Kick
}

// attachPart is attach when all parts are there.
func (r *room) attachPart(from store.NodeID, a *signalpb.Attach) {
	w := r.attaching[from]
	if w == nil {
		w = &whole[signalpb.Attach, *signalpb.Attach]{}
		r.attaching[from] = w
	}
	all := w.add(a)
	if w.so == nil {
		delete(r.attaching, from)
	}
	if all != nil {
		r.attach(from, all)
	}
}

// attach makes a node an edge of the room, or an edge that lost its way start
// over: what it says of its own sessions holds, what it knows of others is taken
// by a home that is new. The answer is a snapshot.
func (r *room) attach(from store.NodeID, a *signalpb.Attach) {
	if reason := r.closedFor(); reason != signalpb.Refused_REASON_UNSPECIFIED {
		r.hub.toEdge(from, refusal(r.id, r.home.Epoch, "", reason))
		return
	}
	e := r.edges[from]
	if e == nil {
		e = &edge{}
		r.edges[from] = e
	}
	// Not attached until the snapshot: what changes now is in it.
	e.attached, e.lost = false, time.Time{}
	if a.GetWatching() {
		e.watches = time.Now()
	}
	r.takeKnown(from, a)
	kicked := r.takeOwn(from, a)
	r.takeData(from, a)
	if r.callSince.IsZero() {
		r.callSince = fromMillis(a.GetCallSince())
	}
	r.noteCall()

	snapshot := &signalpb.Snapshot{CallSince: millis(r.callSince), Life: r.life}
	if a.GetSeqEpoch() == r.home.Epoch && a.GetSeqLife() == r.life {
		snapshot.Missed = e.missed(a.GetSeq())
	} else {
		snapshot.Missed = e.missed(0)
	}
	snapshot.Missed = append(snapshot.Missed, kicked...)
	e.attached = true
	for _, m := range r.members {
		snapshot.Members = append(snapshot.Members, m)
	}
	for _, p := range r.pubs {
		snapshot.Publications = append(snapshot.Publications, encodePublication(p))
	}
	snapshot.Transient, snapshot.TransientVersion = r.data.all()
	for _, part := range cutSnapshot(snapshot) {
		ok := r.hub.toEdge(from, &signalpb.Frame{
			Room: roomOf(r.id), Epoch: r.home.Epoch, Seq: e.seq, Heard: e.heard,
			Body: &signalpb.Frame_Snapshot{Snapshot: part},
		})
		if !ok {
			r.lose(from)
			return
		}
	}
	for _, say := range a.GetUnheard() {
		r.say(from, say)
	}
}

// takeKnown keeps the members of other edges until those speak for themselves.
// Only a new home does: later it knows better.
func (r *room) takeKnown(from store.NodeID, a *signalpb.Attach) {
	if time.Since(r.began) > r.hub.cfg.ResumeTimeout {
		return
	}
	for _, m := range a.GetKnown() {
		id, at := store.SessionID(m.GetSession()), store.NodeID(m.GetEdge())
		_, left := r.gone[id]
		old := r.members[id]
		later := old != nil && m.GetIncarnation() > old.GetIncarnation() && m.GetUserId() == old.GetUserId()
		if id == "" || at == "" || at == from || left || old != nil && !later || len(r.members) >= maxMembers {
			continue
		}
		e := r.edges[at]
		if e == nil {
			e = &edge{lost: time.Now()}
			r.edges[at] = e
		}
		switch {
		case e.lost.IsZero(): // it speaks for itself
		case later:
			r.moveMember(m)
		default:
			r.add(m, from)
		}
	}
	for _, raw := range a.GetKnownPublications() {
		pub, err := decodePublication(raw)
		if err != nil {
			continue
		}
		m := r.members[pub.ID.Session]
		if m == nil || m.GetEdge() != string(pub.Edge) || r.edges[pub.Edge].lost.IsZero() {
			continue
		}
		if r.register(pub) {
			r.emitAll(from, &signalpb.Frame{Body: &signalpb.Frame_Published{Published: raw}})
		}
	}
}

// takeOwn makes the members and publications of an edge those that it names, but
// for members that were thrown out while it could not be told: it is told now.
//
// An edge that began anew has forgotten its members. They have the same time to
// come back as if it were dead.
func (r *room) takeOwn(from store.NodeID, a *signalpb.Attach) (kicked []*signalpb.Frame) {
	e := r.edges[from]
	forgotten := e.life != 0 && e.life != a.GetLife()
	e.life = a.GetLife()
	own := make(map[store.SessionID]*signalpb.Member, len(a.GetOwn()))
	for _, m := range a.GetOwn() {
		own[store.SessionID(m.GetSession())] = m
	}
	var left []store.SessionID
	for id, m := range r.members {
		switch {
		case m.GetEdge() != string(from):
		case own[id] != nil:
			delete(r.orphans, id)
		case forgotten:
			r.orphans[id] = time.Now()
		case r.orphans[id].IsZero():
			left = append(left, id)
		}
	}
	r.remove(left, true)
	for id, m := range own {
		if id == "" || len(r.members) >= maxMembers {
			continue
		}
		if old := r.members[id]; old != nil && sameSeat(old, m) {
			claim := cloneMember(m)
			claim.Edge = string(from)
			if outranks(claim, old) {
				r.moveMember(claim)
			}
			r.restate(from, &signalpb.State{Session: string(id), InCall: m.GetInCall(), Flags: m.GetVirtual().GetFlags()})
			continue // if another edge has it, the snapshot tells
		}
		if why := r.thrownOut(m); why != nil {
			kicked = append(kicked, kickFrame(string(id), why))
			continue
		}
		r.admit(from, m)
	}
	published := make(map[pubKey]bool)
	for _, raw := range a.GetOwnPublications() {
		pub, err := decodePublication(raw)
		if err != nil || pub.Edge != from || r.members[pub.ID.Session].GetEdge() != string(from) {
			continue
		}
		published[pubKey{pub.ID.Session, pub.ID.Kind}] = true
		r.publish(from, pub)
	}
	for k, pub := range r.pubs {
		if pub.Edge == from && !published[k] {
			r.unpublish(pub.ID)
		}
	}
	return kicked
}

// thrownOut says why somebody that an edge still has was thrown out, or has been
// replaced by a later session of the participant. Who wants in anew has no number
// yet.
func (r *room) thrownOut(m *signalpb.Member) *signalpb.Kick {
	if m.GetNumber() == 0 {
		return nil
	}
	if out, ok := r.out[store.SessionID(m.GetSession())]; ok && m.GetNumber() <= out.number {
		return out.why
	}
	for _, other := range r.members {
		if m.GetRoomSession() != "" && other.GetRoomSession() == m.GetRoomSession() && other.GetNumber() > m.GetNumber() {
			return &signalpb.Kick{Bye: wire.ByeRoomSession}
		}
	}
	return nil
}

// join lets a session in.
func (r *room) join(from store.NodeID, m *signalpb.Member) {
	reason := r.closedFor()
	if reason == signalpb.Refused_REASON_UNSPECIFIED && len(r.members) >= maxMembers {
		reason = signalpb.Refused_REASON_FULL
	}
	if reason != signalpb.Refused_REASON_UNSPECIFIED {
		r.hub.toEdge(from, refusal(r.id, r.home.Epoch, m.GetSession(), reason))
		return
	}
	old := r.members[store.SessionID(m.GetSession())]
	switch {
	case m.GetSession() == "":
	case old == nil:
		r.admit(from, m)
	case old.GetIncarnation() >= m.GetIncarnation():
		// Told again after a break: the snapshot has it.
	case sameSeat(old, m):
		r.claim(from, m)
	default:
		r.admit(from, m)
	}
}

// sameSeat tells whether two are the same participant of the backend, under one
// session. If not, one of them goes before the other comes.
func sameSeat(a, b *signalpb.Member) bool {
	return a.GetUserId() == b.GetUserId() && a.GetRoomSession() == b.GetRoomSession()
}

// closedFor says why nobody may enter now.
func (r *room) closedFor() signalpb.Refused_Reason {
	switch {
	case r.releasing:
		return signalpb.Refused_REASON_RELEASING
	case !r.acts():
		return signalpb.Refused_REASON_DETACHED
	}
	return signalpb.Refused_REASON_UNSPECIFIED
}

// admit adds a member. A participant has one session in a room: an older one
// of the same goes first, and so does one that its client has lost.
func (r *room) admit(from store.NodeID, m *signalpb.Member) {
	var out []store.SessionID
	for id, other := range r.members {
		same := m.GetRoomSession() != "" && other.GetRoomSession() == m.GetRoomSession()
		if string(id) == m.GetSession() || same || string(id) == m.GetReplaces() || ownedBy(other, m.GetReplaces()) {
			out = append(out, id)
		}
	}
	r.kick(out, &signalpb.Kick{Bye: wire.ByeRoomSession})
	delete(r.out, store.SessionID(m.GetSession()))
	m = cloneMember(m)
	m.Edge, m.Replaces = string(from), ""
	if m.GetNumber() == 0 {
		m.Number = r.number + 1
	}
	r.add(m, "")
}

// add puts a member into the room and tells the edges, but for one.
func (r *room) add(m *signalpb.Member, except store.NodeID) {
	r.members[store.SessionID(m.GetSession())] = m
	r.number = max(r.number, m.GetNumber())
	r.empty = time.Time{}
	if m.GetInCall() != 0 {
		r.noteCall()
	}
	r.emitAll(except, &signalpb.Frame{Body: &signalpb.Frame_Joined{Joined: m}})
}

// kick takes members out because somebody else wants it so. Their edges are
// told why, and everybody that they left.
func (r *room) kick(ids []store.SessionID, why *signalpb.Kick) {
	if len(ids) == 0 {
		return
	}
	byEdge := make(map[store.NodeID][]string)
	for _, id := range ids {
		if m := r.members[id]; m != nil {
			at := store.NodeID(m.GetEdge())
			byEdge[at] = append(byEdge[at], string(id))
		}
	}
	if len(r.out) > maxOut {
		clear(r.out)
	}
	for _, id := range ids {
		r.out[id] = out{r.number, why} // in case that its edge is not told, or has not got it
	}
	for at, sessions := range byEdge {
		if e := r.edges[at]; e != nil && e.attached {
			r.emit(at, e, &signalpb.Frame{Body: &signalpb.Frame_Kick{Kick: &signalpb.Kick{
				Sessions: sessions, Bye: why.GetBye(), Disinvited: why.GetDisinvited(),
			}}})
		}
	}
	r.remove(ids, false)
}

// leave takes a session out that wants to go, or that is gone. Without a lease
// it waits: perhaps another node is the home already.
func (r *room) leave(from store.NodeID, id store.SessionID) {
	if !r.acts() {
		r.leaving = append(r.leaving, leaving{from, id})
		return
	}
	if m := r.members[id]; m != nil && m.GetEdge() == string(from) {
		r.remove([]store.SessionID{id}, true)
	}
}

// remove takes members and what they publish out of the room.
func (r *room) remove(ids []store.SessionID, tellBackend bool) {
	var left []string
	for _, id := range ids {
		m := r.members[id]
		if m == nil {
			continue
		}
		delete(r.members, id)
		delete(r.orphans, id)
		delete(r.moved, id)
		r.gone[id] = struct{}{}
		r.data.forget(id)
		for k := range r.pubs {
			if k.session == id {
				delete(r.pubs, k) // that goes without saying
			}
		}
		left = append(left, string(id))
		if tellBackend {
			r.hub.tellLeft(r.id, m)
		}
	}
	if len(left) == 0 {
		return
	}
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Left{Left: &signalpb.Left{Sessions: left}}})
	r.dropEdges()
	r.noteCall()
	if len(r.members) == 0 {
		r.empty = time.Now()
		r.data.clear(r.home.Epoch)
	}
}

// dropEdges forgets the edges without members, which forget the room by
// themselves.
func (r *room) dropEdges() {
	alive := make(map[store.NodeID]bool, len(r.edges))
	for _, m := range r.members {
		alive[store.NodeID(m.GetEdge())] = true
	}
	for id, e := range r.edges {
		// One that is attaching has just said that it is there.
		if !alive[id] && !e.watching() && (e.attached || !e.lost.IsZero()) {
			delete(r.edges, id)
		}
	}
}

// noteCall notes when the call begins and ends. A service alone makes no call.
func (r *room) noteCall() {
	calling := false
	for _, m := range r.members {
		calling = calling || m.GetInCall()&inCallFlag != 0 && !m.GetInternal()
	}
	switch {
	case !calling:
		r.callSince = time.Time{}
	case r.callSince.IsZero():
		r.callSince = time.Now()
	}
}
