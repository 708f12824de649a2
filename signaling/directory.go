package signaling

import (
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// Where the sessions of a user are is known at one node for each user, which
// rendezvous hashing names: every node tells it of its own. Who writes to a user
// writes to that node, which passes it on:
//
//	node with a session ── At ──> the user's node <── User, to be routed ── sender
//	                                    └── User ──> nodes with sessions of the user
//
// The word of a session that has just begun may come later than what is said to it:
// what was routed within the last moment is passed on to its node then.
//
// All is soft state. It holds among nodes that see the same nodes alive, as each
// says in a view: a node that has not told all it has under the view of the user's
// node is passed everything, and what comes under another view goes to all. An older
// node never tells, so that it gets everything and routes nothing.
type directory struct {
	mu     sync.Mutex // taken before that of the hub, and of a peer
	view   uint64
	nodes  []store.NodeID                        // guarded by mu; those alive, this one among them
	told   map[userKey]struct{}                  // guarded by mu; those of ours that the others know of
	at     map[userKey]map[store.NodeID]struct{} // guarded by mu; the users whose node this is
	views  map[store.NodeID]uint64               // guarded by mu; under which a node has told all
	routed []routed                              // guarded by mu; lately
	of     map[store.NodeID]map[userKey]struct{} // guarded by mu; what a node has told
}

// routed is what was routed lately.
type routed struct {
	user *signalpb.User
	from store.NodeID
	at   time.Time
	to   map[store.NodeID][]string // the users by the nodes that were passed it
}

// How long, and how much of it is kept.
const (
	oldRouted      = 500 * time.Millisecond
	maxRouted      = 256
	maxRoutedBytes = 1 << 20
)

func newDirectory() *directory {
	return &directory{
		told: make(map[userKey]struct{}), at: make(map[userKey]map[store.NodeID]struct{}),
		views: make(map[store.NodeID]uint64), of: make(map[store.NodeID]map[userKey]struct{}),
	}
}

// nodeOfLocked is the node that knows where the sessions of a user are.
func (d *directory) nodeOfLocked(k userKey) store.NodeID {
	var best store.NodeID
	var most uint64
	for _, n := range d.nodes {
		if w := weightOf(n, string(k.backend)+"\x00"+k.id); best == "" || w > most {
			best, most = n, w
		}
	}
	return best
}

// viewOf is a number for the nodes that are alive; never 0.
func viewOf(nodes []store.NodeID) uint64 {
	sum := fnv.New64a()
	for _, n := range nodes {
		_, _ = sum.Write([]byte(string(n) + "\x00")) // never fails
	}
	return sum.Sum64() | 1
}

// forgetLocked drops what a node has told.
func (d *directory) forgetLocked(node store.NodeID) {
	for k := range d.of[node] {
		d.removeLocked(node, k)
	}
	delete(d.of, node)
	delete(d.views, node)
}

func (d *directory) addLocked(node store.NodeID, k userKey) {
	if d.at[k] == nil {
		d.at[k] = make(map[store.NodeID]struct{})
	}
	if d.of[node] == nil {
		d.of[node] = make(map[userKey]struct{})
	}
	d.at[k][node], d.of[node][k] = struct{}{}, struct{}{}
}

func (d *directory) removeLocked(node store.NodeID, k userKey) {
	delete(d.of[node], k)
	if delete(d.at[k], node); len(d.at[k]) == 0 {
		delete(d.at, k)
	}
}

// heard takes what a node tells of its users. It gives what that node has missed.
func (d *directory) heard(from store.NodeID, a *signalpb.At) (missed []*signalpb.Frame) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.GetBegin() {
		d.forgetLocked(from)
	}
	knew := d.knowsLocked(from)
	for _, u := range a.GetHere() {
		d.addLocked(from, userKey{store.BackendID(u.GetBackend()), u.GetId()})
		for _, r := range d.routed {
			if knew && r.from != from && time.Since(r.at) < oldRouted && r.missedBy(from, u) {
				missed = append(missed, userFrame(r.user, []string{u.GetId()}))
			}
		}
	}
	for _, u := range a.GetGone() {
		d.removeLocked(from, userKey{store.BackendID(u.GetBackend()), u.GetId()})
	}
	if a.GetWhole() {
		d.views[from] = a.GetView()
	}
	return missed
}

// missedBy tells whether it was for a user, and the node has not been passed it.
func (r routed) missedBy(node store.NodeID, u *signalpb.UserName) bool {
	return r.user.GetBackend() == u.GetBackend() && slices.Contains(r.user.GetUserIds(), u.GetId()) && !slices.Contains(r.to[node], u.GetId())
}

// lost tells that the link to a node has broken: what it tells may not arrive.
func (d *directory) lost(node store.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked(node)
}

// knowsLocked tells whether a node has told all it has under the view of this one.
func (d *directory) knowsLocked(node store.NodeID) bool { return d.views[node] == d.view }

// directoryFollows notes who is alive. Whoever answers for users of ours is told all anew.
func (h *Hub) directoryFollows(nodes []Node) {
	alive := []store.NodeID{h.deps.Self}
	for _, n := range nodes {
		if n.ID != h.deps.Self && (n.Alive || n.Suspect) {
			alive = append(alive, n.ID)
		}
	}
	slices.Sort(alive)
	d := h.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	view := viewOf(alive)
	if view == d.view {
		return
	}
	d.view, d.nodes = view, alive
	for node := range d.of {
		if !slices.Contains(alive, node) {
			d.forgetLocked(node)
		}
	}
	for _, node := range alive {
		h.tellAllLocked(node)
	}
}

// tellAll tells a node all that it answers for; the link to it is new.
func (h *Hub) tellAll(node store.NodeID) {
	h.directory.mu.Lock()
	defer h.directory.mu.Unlock()
	h.tellAllLocked(node)
}

// atPart is how many users go into one frame.
const atPart = 1000

func (h *Hub) tellAllLocked(node store.NodeID) {
	d, p := h.directory, h.peer(node)
	if p == nil || d.view == 0 {
		return
	}
	var users []*signalpb.UserName
	for k := range d.told {
		if d.nodeOfLocked(k) == node {
			users = append(users, nameOf(k))
		}
	}
	begin := true
	for ; len(users) > atPart; users = users[atPart:] {
		p.sendNow(atFrame(&signalpb.At{Begin: begin, Here: users[:atPart]}))
		begin = false
	}
	p.sendNow(atFrame(&signalpb.At{Begin: begin, Here: users, Whole: true, View: d.view}))
}

// userChanged tells the node of a user whether there are sessions of it here. It
// looks for itself, so that it does not matter in which order it is called.
func (h *Hub) userChanged(k userKey) {
	if k.id == "" {
		return
	}
	d := h.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	h.mu.Lock()
	here := len(h.users[k]) > 0
	h.mu.Unlock()
	if _, told := d.told[k]; told == here {
		return
	}
	a := &signalpb.At{}
	if here {
		d.told[k] = struct{}{}
		a.Here = []*signalpb.UserName{nameOf(k)}
	} else {
		delete(d.told, k)
		a.Gone = []*signalpb.UserName{nameOf(k)}
	}
	if p := h.peer(d.nodeOfLocked(k)); p != nil {
		p.sendNow(atFrame(a)) // otherwise it is told all when there is a link
	}
}

func atFrame(a *signalpb.At) *signalpb.Frame { return &signalpb.Frame{Body: &signalpb.Frame_At{At: a}} }

func nameOf(k userKey) *signalpb.UserName {
	return &signalpb.UserName{Backend: string(k.backend), Id: k.id}
}

// routes says which node routes to each of the users, and under which view.
func (d *directory) routes(of store.BackendID, users []string) (byNode map[store.NodeID][]string, view uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	byNode = make(map[store.NodeID][]string)
	for _, id := range users {
		node := d.nodeOfLocked(userKey{of, id})
		byNode[node] = append(byNode[node], id)
	}
	return byNode, d.view
}

// plan says which of the users each of the nodes must hear of, but for the sender.
// It is in order with what the nodes tell, so that nobody is passed the same twice.
func (d *directory) plan(u *signalpb.User, from store.NodeID, nodes []store.NodeID) map[store.NodeID][]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	plan := make(map[store.NodeID][]string)
	for _, node := range nodes {
		if users := d.usersAtLocked(node, u); node != from && len(users) > 0 {
			plan[node] = users
		}
	}
	d.routed = append(d.routed, routed{u, from, time.Now(), plan})
	d.routed = newest(d.routed, maxRouted, maxRoutedBytes, func(r routed) int { return len(r.user.GetFrame()) })
	return plan
}

// usersAtLocked are the users that a node must hear of: all, if it has not told what
// it has, or the sender sees other nodes than this one.
func (d *directory) usersAtLocked(node store.NodeID, u *signalpb.User) []string {
	if u.GetRoute() != d.view || !d.knowsLocked(node) {
		return u.GetUserIds()
	}
	var here []string
	for _, id := range u.GetUserIds() {
		if _, at := d.at[userKey{store.BackendID(u.GetBackend()), id}][node]; at {
			here = append(here, id)
		}
	}
	return here
}

// routable tells whether a node routes: it has told what it has, as older ones
// never do.
func (d *directory) routable(node store.NodeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.views[node] != 0
}
