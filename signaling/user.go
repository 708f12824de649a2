package signaling

import (
	"maps"
	"slices"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// maxHeard is how much a node remembers of what was said to users and sessions: it comes
// twice if a node on the first way hangs, within seconds.
const maxHeard = 8 << 10

// toUsers hands a frame to all sessions of users, on whatever nodes they are, by
// way of the nodes that know where (directory.go). Sessions named in not hear
// nothing.
func (h *Hub) toUsers(of store.BackendID, users []string, frame []byte, not ...store.SessionID) {
	if len(users) == 0 {
		return
	}
	u := &signalpb.User{Backend: string(of), UserIds: users, NotSessions: texts(not), Frame: frame}
	h.usersHere(u)
	byNode, view := h.directory.routes(of, users)
	for node, some := range byNode {
		h.toUsersBy(node, &signalpb.User{
			Backend: u.GetBackend(), UserIds: some, NotSessions: u.GetNotSessions(), Frame: frame, Route: view,
			Origin: string(h.deps.Self), Number: h.said.Add(1),
		})
	}
}

// toUsersBy sends a frame to the node that routes it, and if that cannot be, to all.
func (h *Hub) toUsersBy(node store.NodeID, u *signalpb.User) {
	if node == h.deps.Self {
		h.route(u, h.deps.Self)
		return
	}
	if p := h.peer(node); p != nil && h.directory.routable(node) && p.sendNow(&signalpb.Frame{Body: &signalpb.Frame_User{User: u}}) {
		return
	}
	h.toAll(u)
}

// toAll sends a frame to all nodes, whoever has sessions of the users.
func (h *Hub) toAll(u *signalpb.User) {
	h.metrics.broadcasts.Inc()
	h.tellPeers(userFrame(u, u.GetUserIds()))
}

// heardOfUsers takes a frame for users, to be passed on or for those of here.
func (h *Hub) heardOfUsers(from store.NodeID, u *signalpb.User) {
	h.usersHere(u)
	if u.GetRoute() != 0 {
		h.route(u, from)
	}
}

// route passes a frame on to the nodes where the users are. Who sent it has told its
// own.
func (h *Hub) route(u *signalpb.User, from store.NodeID) {
	h.mu.Lock()
	peers := maps.Clone(h.peers)
	h.mu.Unlock()
	for node, users := range h.directory.plan(u, from, keys(peers)) {
		peers[node].send(userFrame(u, users))
	}
}

// heardAt takes what a node tells of its users.
func (h *Hub) heardAt(from store.NodeID, a *signalpb.At) {
	missed := h.directory.heard(from, a)
	if p := h.peer(from); p != nil {
		for _, f := range missed {
			p.send(f)
		}
	}
}

// userFrame is for those of the users that are at one node.
func userFrame(u *signalpb.User, users []string) *signalpb.Frame {
	return &signalpb.Frame{Body: &signalpb.Frame_User{User: &signalpb.User{
		Backend: u.GetBackend(), UserIds: users, NotSessions: u.GetNotSessions(), Frame: u.GetFrame(),
		Origin: u.GetOrigin(), Number: u.GetNumber(),
	}}}
}

// usersHere hands a frame to the sessions of users on this node, once.
func (h *Hub) usersHere(u *signalpb.User) {
	var sessions []*Session
	h.mu.Lock()
	for _, id := range u.GetUserIds() {
		here := h.users[userKey{store.BackendID(u.GetBackend()), id}]
		if len(here) == 0 || u.GetNumber() > 0 && !h.heard.first(saying{u.GetOrigin() + "\x00" + id, u.GetNumber()}) {
			continue
		}
		sessions = append(sessions, keys(here)...)
	}
	h.mu.Unlock()
	for _, s := range sessions {
		if slices.Contains(u.GetNotSessions(), string(s.id)) {
			continue
		}
		s.send(u.GetFrame())
	}
}

// toSession hands a frame to a session of the same backend wherever it is: here,
// or at the node that made its id, or where that one sent it. A session that is
// nowhere hears nothing; clients expect no answer.
func (h *Hub) toSession(of store.BackendID, id store.SessionID, frame []byte) {
	h.direct(&signalpb.Direct{Session: string(id), Frame: frame, Backend: string(of), Origin: string(h.deps.Self), Number: h.said.Add(1)}, "")
}

// direct passes a frame for one session on. It goes one hop beyond the node
// that made the session, and never back to where it came from.
func (h *Hub) direct(d *signalpb.Direct, from store.NodeID) {
	id := store.SessionID(d.GetSession())
	h.mu.Lock()
	s, f := h.sessions[id], h.forwards[id]
	heard := s != nil && from != "" && d.GetNumber() > 0 && !h.heard.first(saying{d.GetOrigin(), d.GetNumber()})
	h.mu.Unlock()
	if s != nil {
		if string(s.who.backend) == d.GetBackend() && !heard {
			s.send(d.GetFrame())
		}
		return
	}
	node := f.to
	if node == "" && from == "" {
		origin, err := h.seals.origin(id)
		if err != nil {
			return
		}
		node = origin
	}
	if p := h.peer(node); from == "" && node != h.deps.Self && (p == nil || !p.linked()) {
		// It goes on elsewhere, perhaps, and this node has seen it there.
		if _, seen := h.whereabouts.find(id); seen != nil {
			node = store.NodeID(seen.GetEdge())
		}
	}
	if node == "" || node == from || node == h.deps.Self {
		return
	}
	if p := h.peer(node); p != nil {
		p.send(&signalpb.Frame{Body: &signalpb.Frame_Direct{Direct: d}})
	}
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
