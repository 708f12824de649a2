package signaling

import (
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// oldPublications is how long what a session published at its former edge may
// still be had from there: until it publishes anew, or so long.
const oldPublications = 5 * time.Second

// outranks tells whether one claim to a session holds against another. A client
// may turn to two nodes one after the other, which then claim the same: the ids
// decide, as everybody has to come to the same result.
func outranks(a, b *signalpb.Member) bool {
	if a.GetIncarnation() != b.GetIncarnation() {
		return a.GetIncarnation() > b.GetIncarnation()
	}
	return a.GetEdge() > b.GetEdge()
}

// claim is an edge's word that a session, which was at another one, goes on
// there. Whoever has the higher incarnation has the session; the loser hears who
// it is.
func (r *room) claim(from store.NodeID, m *signalpb.Member) {
	if reason := r.closedFor(); reason != signalpb.Refused_REASON_UNSPECIFIED {
		r.hub.toEdge(from, refusal(r.id, r.home.Epoch, m.GetSession(), reason))
		return
	}
	id := store.SessionID(m.GetSession())
	m = cloneMember(m)
	m.Edge = string(from)
	e, old := r.edges[from], r.members[id]
	switch {
	case id == "" || e == nil:
	case old == nil:
		r.claimOfAStranger(from, e, m)
	case old.GetUserId() != m.GetUserId():
		r.hub.log.Warn("claim to a session of somebody else", keyRoom, r.id.String(), keyNode, string(from))
	case outranks(m, old):
		r.moveMember(m)
	default:
		r.emit(from, e, &signalpb.Frame{Body: &signalpb.Frame_Moved{Moved: old}})
	}
}

// claimOfAStranger is a claim to a session that is not in the room any more: it
// comes in again, unless it was thrown out.
func (r *room) claimOfAStranger(from store.NodeID, e *edge, m *signalpb.Member) {
	why := r.thrownOut(m)
	switch {
	case why != nil:
		r.emit(from, e, kickFrame(m.GetSession(), why))
	case len(r.members) >= maxMembers:
		r.hub.toEdge(from, refusal(r.id, r.home.Epoch, m.GetSession(), signalpb.Refused_REASON_FULL))
	default:
		r.admit(from, m)
	}
}

func kickFrame(session string, why *signalpb.Kick) *signalpb.Frame {
	return &signalpb.Frame{Body: &signalpb.Frame_Kick{Kick: &signalpb.Kick{
		Sessions: []string{session}, Bye: why.GetBye(), Disinvited: why.GetDisinvited(),
	}}}
}

// moveMember makes another edge the one of a member. What the room knows of the
// member stays, so that nobody has left or joined; who has entered anew, which
// has no number, has been asked about its permissions just now.
func (r *room) moveMember(m *signalpb.Member) {
	id := store.SessionID(m.GetSession())
	now := cloneMember(r.members[id])
	now.Edge, now.Incarnation, now.Features = m.GetEdge(), m.GetIncarnation(), m.GetFeatures()
	if m.GetNumber() == 0 {
		now.HasPermissions, now.Permissions = m.GetHasPermissions(), m.GetPermissions()
	}
	r.members[id] = now
	delete(r.orphans, id)
	delete(r.out, id)
	r.moved[id] = time.Now()
	r.emitAll("", &signalpb.Frame{Body: &signalpb.Frame_Moved{Moved: now}})
	r.dropEdges()
	r.hub.log.Info("session goes on at another node", keyRoom, r.id.String(), keySession, string(id), keyNode, m.GetEdge())
}

// dropOldPublications ends what sessions published before they moved, and have
// not published anew.
func (r *room) dropOldPublications(now time.Time) {
	for id, at := range r.moved {
		if now.Sub(at) < oldPublications {
			continue
		}
		delete(r.moved, id)
		for k, pub := range r.pubs {
			if k.session == id && pub.ID.Incarnation < r.members[id].GetIncarnation() {
				r.unpublish(pub.ID)
			}
		}
	}
}
