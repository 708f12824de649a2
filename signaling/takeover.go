package signaling

import (
	"slices"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A session goes on at another edge: because the one it had is dead or hangs, or
// because it is moved. The new edge claims it under a higher incarnation:
//
//	new edge --takeover--> home --moved--> all edges
//	new edge --moved, published--> all edges        while there is no home
//
// For the others it has been there all the time. The former edge, if it lives,
// ends what it has of the session when it hears of it.
const (
	// reclaimAfter is when a claim is made again that nobody has confirmed.
	reclaimAfter = time.Second
	// aheadFor is how long the word of another edge counts more than that of a
	// home which has not heard it yet.
	aheadFor = 15 * time.Second
	// oldMedia is how long a former edge goes on with the media of a session, so
	// that those who listen get the new ones first.
	oldMedia = 3 * time.Second
)

// claims are what the home has not confirmed yet of what this edge says of its
// sessions.
type claims struct {
	sessions map[store.SessionID]struct{} // taken over
	pubs     map[pubKey]struct{}          // announced
	made     time.Time
}

func newClaims() claims {
	return claims{sessions: make(map[store.SessionID]struct{}), pubs: make(map[pubKey]struct{})}
}

func (c *claims) forget(id store.SessionID) {
	delete(c.sessions, id)
	for k := range c.pubs {
		if k.session == id {
			delete(c.pubs, k)
		}
	}
}

// takeOver makes a member of the room that was at another edge a session of this
// one, with what it publishes here already. Its client is told first, and then
// everybody who is in the room and in the call, before anything that happens
// later. It is false if the room does not have the session, or has it under an
// incarnation that is as high; the caller ends it then.
func (r *replica) takeOver(s *Session, st *seat, pubs []media.Publication, first ...wire.ServerMessage) bool {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	old := r.members[s.id]
	if r.closed || old == nil || old.GetIncarnation() >= s.incarnation {
		r.mu.Unlock()
		return false
	}
	m := cloneMember(old)
	m.Edge, m.Incarnation, m.Features = string(r.hub.deps.Self), s.incarnation, s.who.features
	r.members[s.id] = m
	r.local[s.id] = s
	r.claims.sessions[s.id] = struct{}{}
	var after effects
	for _, pub := range pubs {
		pub.Edge = r.hub.deps.Self
		after = append(after, r.registerLocked(pub)...)
		r.claims.pubs[pubKey{pub.ID.Session, pub.ID.Kind}] = struct{}{}
	}
	r.claimLocked(s.id)
	r.newsLocked()
	picture := slices.Concat(first, r.pictureLocked(s.id))
	r.mu.Unlock()
	if !s.sit(st) {
		r.leave(s) // it ended meanwhile
		return false
	}
	for _, m := range picture {
		s.say(m)
	}
	after.run()
	return true
}

// pictureLocked is all that a client needs to know of the room, and may.
func (r *replica) pictureLocked(of store.SessionID) []wire.ServerMessage {
	members := r.orderedLocked()
	entries := make([]wire.SessionEntry, 0, len(members))
	for _, m := range members {
		entries = append(entries, entryOf(m))
	}
	picture := append([]wire.ServerMessage{r.joinLocked(of, entries...)}, r.callLocked()...)
	picture = append(picture, r.data.messages()...)
	return append(picture, wire.HomeEvent(r.id.Name, r.home.Node)) // it may have changed while the client was away
}

// claimLocked says that a session is here, and what it publishes, as long as that
// is not confirmed.
func (r *replica) claimLocked(id store.SessionID) {
	r.claims.made = time.Now()
	if _, claimed := r.claims.sessions[id]; claimed {
		m := r.members[id]
		if !r.attached || !r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Takeover{Takeover: m}}) {
			r.toEdgesLocked(&signalpb.Frame{Body: &signalpb.Frame_Moved{Moved: m}})
		}
	}
	for k := range r.claims.pubs {
		switch pub := r.pubs[k]; {
		case k.session != id:
		case r.oursLocked(pub):
			r.announceLocked(pub)
		default:
			delete(r.claims.pubs, k)
		}
	}
}

// announceLocked tells of a publication of ours, by way of the home if there is
// one.
func (r *replica) announceLocked(pub media.Publication) {
	raw := encodePublication(pub)
	r.claims.pubs[pubKey{pub.ID.Session, pub.ID.Kind}] = struct{}{}
	if !r.attached || !r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Announce{Announce: raw}}) {
		r.toEdgesLocked(&signalpb.Frame{Body: &signalpb.Frame_Published{Published: raw}})
	}
}

// claimAllLocked says again what nobody has confirmed.
func (r *replica) claimAllLocked() {
	ids := make(map[store.SessionID]struct{}, len(r.claims.sessions))
	for id := range r.claims.sessions {
		ids[id] = struct{}{}
	}
	for k := range r.claims.pubs {
		ids[k.session] = struct{}{}
	}
	for id := range ids {
		r.claimLocked(id)
	}
}

// reclaim is claimAllLocked once in a while: the home may have refused, and other
// edges may not have been reached.
func (r *replica) reclaim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && r.attaching.IsZero() && time.Since(r.claims.made) > reclaimAfter {
		r.claimAllLocked()
	}
}

// toEdgesLocked sends a frame to the other edges of the room, without the home.
func (r *replica) toEdgesLocked(f *signalpb.Frame) {
	f.Room, f.Epoch = roomOf(r.id), 0
	for id := range r.edgesLocked() {
		if id != r.hub.deps.Self {
			r.hub.toEdge(id, f)
		}
	}
}

func (r *replica) edgesLocked() map[store.NodeID]bool {
	edges := make(map[store.NodeID]bool)
	for _, m := range r.members {
		edges[store.NodeID(m.GetEdge())] = true
	}
	return edges
}

// fromEdgeLocked takes what another edge says without the home.
func (r *replica) fromEdgeLocked(from store.NodeID, f *signalpb.Frame) effects {
	speaksFor := func(session string) bool {
		return r.members[store.SessionID(session)].GetEdge() == string(from)
	}
	switch body := f.GetBody().(type) {
	case *signalpb.Frame_Said:
		if speaksFor(body.Said.GetSession()) {
			return r.heardLocked(body.Said)
		}
	case *signalpb.Frame_Moved:
		return r.claimOfEdgeLocked(from, body.Moved)
	case *signalpb.Frame_Warming:
		if speaksFor(body.Warming.GetSession()) {
			r.lentLocked(store.SessionID(body.Warming.GetSession()), store.NodeID(body.Warming.GetNode()))
		}
	case *signalpb.Frame_Published:
		pub, err := decodePublication(body.Published)
		if err == nil && pub.Edge == from && speaksFor(string(pub.ID.Session)) {
			defer r.newsLocked()
			return r.registerLocked(pub)
		}
	case *signalpb.Frame_Withdrawn:
		if id := pubID(body.Withdrawn); r.pubs[pubKey{id.Session, id.Kind}].Edge == from {
			defer r.newsLocked()
			after, _ := r.unregisterLocked(id)
			return after
		}
	}
	return nil
}

// claimOfEdgeLocked is another edge's word that a session goes on there.
func (r *replica) claimOfEdgeLocked(from store.NodeID, claim *signalpb.Member) effects {
	id := store.SessionID(claim.GetSession())
	old := r.members[id]
	if old == nil || claim.GetEdge() != string(from) || claim.GetUserId() != old.GetUserId() || !outranks(claim, old) {
		return nil
	}
	m := cloneMember(old)
	m.Edge, m.Incarnation, m.Features = claim.GetEdge(), claim.GetIncarnation(), claim.GetFeatures()
	r.members[id] = m
	r.ahead[id] = time.Now()
	defer r.newsLocked()
	return r.elsewhereLocked(m)
}

// movedLocked is the home's word that a session goes on at another edge.
func (r *replica) movedLocked(m *signalpb.Member) effects {
	id := store.SessionID(m.GetSession())
	old := r.members[id]
	switch {
	case old == nil:
		return r.joinedLocked(m)
	case outranks(old, m):
		return nil // the later claim is on its way
	}
	r.members[id] = m
	delete(r.ahead, id)
	if m.GetEdge() != string(r.hub.deps.Self) {
		return r.elsewhereLocked(m)
	}
	delete(r.claims.sessions, id)
	delete(r.hushed, id)
	switch {
	case r.pending[id] != nil:
		return r.seatLocked(r.pending[id])
	case r.local[id] == nil:
		r.leaveFrameLocked(id) // it did not wait so long
	}
	return nil
}

// elsewhereLocked gives up a session of ours that goes on at another edge.
func (r *replica) elsewhereLocked(m *signalpb.Member) effects {
	id, to := store.SessionID(m.GetSession()), store.NodeID(m.GetEdge())
	s := r.local[id]
	if s == nil {
		return nil
	}
	delete(r.local, id)
	delete(r.hushed, id)
	r.claims.forget(id)
	r.dropIfEmptyLocked()
	return effects{func() { s.movedAway(to) }}
}

// aheadLocked is the member as this edge knows it, if that is later than what the
// home knows.
func (r *replica) aheadLocked(known, m *signalpb.Member) *signalpb.Member {
	id := store.SessionID(m.GetSession())
	_, claimed := r.claims.sessions[id]
	at, heard := r.ahead[id]
	if known == nil || !outranks(known, m) || !claimed && (!heard || time.Since(at) > aheadFor) {
		return m
	}
	m = cloneMember(m)
	m.Edge, m.Incarnation, m.Features = known.GetEdge(), known.GetIncarnation(), known.GetFeatures()
	return m
}

// movedAway ends the session here, as it goes on at another node. Its client, if
// it is still there, is told; its media go on for a while.
func (s *Session) movedAway(to store.NodeID) {
	s.hub.remember(s.id, to)
	if _, asked := s.departsTo(to); asked {
		s.hub.moves.ended(s) // that node counts it
	}
	s.finish(wire.ByeMessage("", wire.ByeMoved), true, oldMedia)
}
