package signaling

import (
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// An instance may have a limit of sessions in the whole cluster. Nodes tell each
// other how many each has when that changes, once in censusEvery: a limit is kept
// but for those who come to different nodes within that time. To be exact one node
// would have to count, and every hello to wait for it.
const censusEvery = time.Second

// census is how many sessions of each instance there are, by node.
type census struct {
	here   map[store.BackendID]int
	others map[store.NodeID]map[string]uint32
	told   time.Time
	news   bool // here has changed since
}

func newCensus() census {
	return census{here: make(map[store.BackendID]int), others: make(map[store.NodeID]map[string]uint32)}
}

// countLocked counts a session in or out.
func (h *Hub) countLocked(of store.BackendID, n int) {
	if of == store.Embedded {
		return
	}
	h.census.news = true
	if h.census.here[of] += n; h.census.here[of] <= 0 {
		delete(h.census.here, of)
	}
}

// SessionsOf is how many sessions an instance has in the cluster, as far as this
// node has heard.
func (h *Hub) SessionsOf(of store.BackendID) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessionsOfLocked(of)
}

func (h *Hub) sessionsOfLocked(of store.BackendID) int {
	n := h.census.here[of]
	for _, there := range h.census.others {
		n += int(there[string(of)])
	}
	return n
}

// mayTake tells whether an instance may have one session more. Who asks before the
// instance is asked for its people has to do so again afterwards.
func (h *Hub) mayTake(of store.BackendID) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mayTakeLocked(of)
}

func (h *Hub) mayTakeLocked(of store.BackendID) error {
	if most := h.limitsOf(of).Sessions; most > 0 && h.sessionsOfLocked(of) >= most {
		h.metrics.overflow("sessions")
		return wire.ErrSessionLimit
	}
	return nil
}

// tellCensus tells the other nodes what has changed.
func (h *Hub) tellCensus(now time.Time) {
	h.mu.Lock()
	if !h.census.news || now.Sub(h.census.told) < censusEvery {
		h.mu.Unlock()
		return
	}
	h.census.news, h.census.told = false, now
	f := h.censusLocked()
	h.mu.Unlock()
	for _, p := range h.allPeers() {
		p.sendNow(f) // the others are greeted
	}
}

// greet tells a node that can be reached again.
func (h *Hub) greet(node store.NodeID) {
	h.mu.Lock()
	f, p := h.censusLocked(), h.peers[node]
	h.mu.Unlock()
	if p != nil {
		p.send(f)
	}
}

func (h *Hub) censusLocked() *signalpb.Frame {
	c := &signalpb.Census{Sessions: make(map[string]uint32, len(h.census.here))}
	for id, n := range h.census.here {
		c.Sessions[string(id)] = uint32(n)
	}
	return &signalpb.Frame{Body: &signalpb.Frame_Census{Census: c}}
}

func (h *Hub) heardCensus(from store.NodeID, c *signalpb.Census) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.census.others[from] = c.GetSessions()
}

// forgetDead drops the counts of nodes that are not there any more: their people
// come to others, or are gone.
func (h *Hub) forgetDead(nodes []Node) {
	there := make(map[store.NodeID]bool, len(nodes))
	for _, n := range nodes {
		there[n.ID] = n.Alive || n.Suspect
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.census.others {
		if !there[id] {
			delete(h.census.others, id)
		}
	}
}

// limitsOf are those of an instance; the embedded backend has none.
func (h *Hub) limitsOf(of store.BackendID) backend.Limits {
	if h.deps.Registry == nil || of == store.Embedded {
		return backend.Limits{}
	}
	return h.deps.Registry.Limits(of)
}

// bandwidth is what clients of an instance are asked to stay below.
func (h *Hub) bandwidth(of store.BackendID) *wire.Bandwidth {
	l := h.limitsOf(of)
	return &wire.Bandwidth{
		MaxStreamBitrate: uint64(lesser(h.cfg.MaxStreamBitrate, l.MaxStreamBitrate)),
		MaxScreenBitrate: uint64(lesser(h.cfg.MaxScreenBitrate, l.MaxScreenBitrate)),
	}
}

// maxBitrate is what an instance allows for a kind of publication, 0 for anything.
func (h *Hub) maxBitrate(of store.BackendID, kind string) int {
	if kind == media.KindScreen {
		return h.limitsOf(of).MaxScreenBitrate
	}
	return h.limitsOf(of).MaxStreamBitrate
}

// lesser is the lower of two limits, of which 0 is none.
func lesser(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
