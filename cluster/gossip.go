package cluster

import (
	"encoding/json"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

// gossip is what this node knows of the others without asking: who is alive
// (memberlist's own messages), and how they do (a user message of each node
// once a second, passed on by all). Whoever has a key of the ring can say
// anything about anybody, so nothing that must be true depends on it.
type gossip struct {
	self      store.Node
	log       *slog.Logger
	changed   func() // must not block
	regrouped func() // a node came, went or is leaving; takes no lock; nil: nobody wants to know
	transport memberlist.NodeAwareTransport
	queue     *memberlist.TransmitLimitedQueue
	dead      chan store.NodeID // found dead or left; bounded, the oldest stay
	meta      []byte

	list *memberlist.Memberlist // set by start
	ring *memberlist.Keyring    // set by start

	mu   sync.Mutex // guards what follows; callbacks of memberlist take it
	seen map[store.NodeID]*sighting
	live int // of those seen
	own  news
}

// sighting is what is known of another node.
type sighting struct {
	alive   bool
	cluster string    // address
	heard   time.Time // of its news
	news    news
	// What the node said to this one as the leader, and when. It is newer than
	// the news.
	load   Load
	loadAt time.Time
}

// news is what a node tells of itself. A later one has a higher (Boot, Seq).
type news struct {
	Node     store.NodeID `json:"n"`
	Boot     int64        `json:"b"`
	Seq      uint64       `json:"s"`
	Draining bool         `json:"d,omitempty"`
	Load     Load         `json:"l"`
}

func (n news) after(o news) bool { return n.Boot > o.Boot || n.Boot == o.Boot && n.Seq > o.Seq }

// gossipMeta travels with memberlist's own message that a node is alive.
type gossipMeta struct {
	Cluster string `json:"c"`
}

// Limits of what others can make this node hold.
const (
	maxSeen     = 4096
	maxNews     = 1200 // fits a packet
	maxNewsList = 4 << 20
	deadBacklog = 64
	// callAtOnce is how many lost nodes are called in one round.
	callAtOnce = 3
)

func newGossip(self store.Node, transport memberlist.NodeAwareTransport, log *slog.Logger, changed func()) *gossip {
	meta, err := json.Marshal(gossipMeta{Cluster: self.ClusterAddr})
	if err != nil || len(meta) > memberlist.MetaMaxSize {
		meta = nil // the record has the address too
	}
	g := &gossip{
		self: self, log: log, changed: changed, transport: transport, meta: meta,
		dead: make(chan store.NodeID, deadBacklog),
		seen: make(map[store.NodeID]*sighting),
		own:  news{Node: self.ID, Boot: time.Now().UnixNano()},
	}
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: g.count, RetransmitMult: gossipRetransmit}
	return g
}

// start begins to gossip; nobody is known yet.
func (g *gossip) start(keys [][]byte) error {
	var err error
	if g.ring, err = memberlist.NewKeyring(keys, keys[0]); err != nil {
		return err
	}
	host, portText, err := net.SplitHostPort(g.self.GossipAddr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	ip, err := lookupIP(host)
	if err != nil {
		return err
	}
	c := memberlist.DefaultLANConfig()
	c.Name = string(g.self.ID)
	c.Transport = g.transport
	c.AdvertiseAddr, c.AdvertisePort = ip, port
	c.Keyring = g.ring
	c.TCPTimeout = gossipStream
	c.ProbeInterval, c.ProbeTimeout = gossipProbe, gossipProbeTimeout
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = gossipSuspicionMult, gossipSuspicionMaxMult
	c.PushPullInterval = gossipPushPull
	c.GossipInterval, c.GossipToTheDeadTime = gossipInterval, gossipToTheDead
	c.DeadNodeReclaimTime = gossipReclaim
	c.EnableCompression = false // small messages, sent often
	c.Delegate, c.Events, c.Conflict = g, g, g
	c.Logger = newGossipLog(g.log)
	g.list, err = memberlist.Create(c)
	return err
}

// leave tells the others that this node goes.
func (g *gossip) leave() {
	if err := g.list.Leave(gossipLeave); err != nil {
		g.log.Debug("leaving gossip", "error", err)
	}
}

// stop ends the goroutines.
func (g *gossip) stop() {
	_ = g.list.Shutdown() // only ever logs
}

// join calls nodes and returns how many answered. It may take a while.
func (g *gossip) join(nodes []peer) int {
	addrs := make([]string, 0, len(nodes))
	for _, n := range nodes {
		addrs = append(addrs, string(n.ID)+"/"+n.Gossip)
	}
	n, err := g.list.Join(addrs)
	if err != nil {
		g.log.Debug("calling nodes", "error", err)
	}
	return n
}

// state of a node at a time. A node that gossip has never seen is dead.
func (g *gossip) state(id store.NodeID, now time.Time) (MemberState, Load) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id == g.self.ID {
		if g.own.Draining {
			return StateDraining, g.own.Load
		}
		return StateAlive, g.own.Load
	}
	s := g.seen[id]
	switch {
	case s == nil || !s.alive:
		return StateDead, Load{}
	case now.Sub(s.heard) > loadStale*g.everyLocked()/loadInterval && now.Sub(s.loadAt) > loadStale:
		return StateSuspect, s.news.Load
	}
	load := s.news.Load
	if now.Sub(s.loadAt) < loadStale {
		load = s.load
	}
	if s.news.Draining {
		return StateDraining, load
	}
	return StateAlive, load
}

// every is how often a node tells its load: once a second among few. All news
// go through all nodes, whose packets hold so many and no more.
func (g *gossip) every() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.everyLocked()
}

func (g *gossip) everyLocked() time.Duration {
	return loadInterval * time.Duration(1+g.live/newsPerInterval)
}

// report takes what a node says to the leader of itself.
func (g *gossip) report(id store.NodeID, load Load, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.seen[id]; s != nil {
		s.load, s.loadAt = load.finite(), now
	}
}

// measured takes this node's newest load, and tells whether others must hear of
// it at once: it is full or crowded now, or not any more.
func (g *gossip) measured(load Load) (turned bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	load = load.finite()
	sum, n := load.Busy(), 1
	for _, s := range g.seen {
		if s.alive {
			sum += s.news.Load.Busy()
			n++
		}
	}
	load.Crowded = load.CrowdedAmong(sum / float64(n))
	turned = load.Crowded != g.own.Load.Crowded || load.Full() != g.own.Load.Full()
	g.own.Load = load
	return turned
}

// ownLoad is this node's newest load.
func (g *gossip) ownLoad() Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.own.Load
}

// sees tells whether memberlist has a node among the living.
func (g *gossip) sees(id store.NodeID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[id]
	return id == g.self.ID || s != nil && s.alive
}

func (g *gossip) clusterAddr(id store.NodeID) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[id]
	if s == nil || !s.alive || s.cluster == "" {
		return "", false
	}
	return s.cluster, true
}

func (g *gossip) setDraining(draining bool) {
	g.mu.Lock()
	same := g.own.Draining == draining
	g.own.Draining = draining
	g.mu.Unlock()
	if !same {
		g.tell()
		g.regroup()
		g.changed()
	}
}

// tell gives the others this node's newest load.
func (g *gossip) tell() {
	g.mu.Lock()
	g.own.Seq++
	own := g.own
	g.mu.Unlock()
	g.pass(own)
}

// pass puts news on the queue; older news of the same node leave it.
func (g *gossip) pass(n news) {
	data, err := json.Marshal(n)
	if err != nil || len(data) > maxNews {
		g.log.Warn("load cannot be told", "error", err, "bytes", len(data))
		return
	}
	g.queue.QueueBroadcast(&newsBroadcast{node: n.Node, data: data})
}

// hear takes what a node said, from wherever it came, and tells whether it was
// new.
func (g *gossip) hear(n news) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[n.Node]
	if s == nil || !n.after(s.news) {
		return false
	}
	if s.news.Draining != n.Draining {
		g.regroup()
	}
	s.news, s.heard = n, time.Now()
	return true
}

func (g *gossip) regroup() {
	if g.regrouped != nil {
		g.regrouped()
	}
}

func (g *gossip) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return 1 + g.live
}
