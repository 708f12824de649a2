package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

// traffic is what clients and other nodes have sent to this node, and got.
func (n *Node) traffic() traffic {
	clients, others := n.engine.Totals(), n.relays.Totals()
	return traffic{
		inBytes: clients.BytesIn + others.BytesIn, outBytes: clients.BytesOut + others.BytesOut,
		outPackets: clients.PacketsOut + others.PacketsOut,
		lost:       clients.PacketsLost, delays: clients.Delays, delay: clients.Delay,
	}
}

// load is what this node tells the others of itself.
func (n *Node) load() cluster.Load {
	m, totals, l := n.meter.measure(), n.engine.Totals(), n.limits()
	l.CPU, l.EgressBps, l.IngressBps, l.EgressPps = m.cpu, m.egressBps, m.ingressBps, m.egressPps
	l.Publishers, l.Subscribers = totals.Publishers, totals.Subscribers
	l.Overload = m.overload
	l.Headroom, l.Exhausted, l.Started = m.room.streams, m.room.exhausted, n.started.Unix()
	return l
}

// limits are how far this node may go, and how many sessions it has.
func (n *Node) limits() cluster.Load {
	return cluster.Load{
		Sessions:     n.hub.Report().Sessions,
		MaxEgressBps: float64(n.cfg.Media.MaxEgress), MaxSessions: n.cfg.Signaling.MaxSessions,
	}
}

// report is what this node knows of the rooms it has sessions in.
func (n *Node) report() *inspect.ReportReply {
	var reply inspect.ReportReply
	for _, r := range n.hub.Report().Rooms {
		reply.Edges = append(reply.Edges, &inspect.Edge{
			Room: r.Room.String(), Sessions: uint32(r.Sessions), Publishers: uint32(r.Publishers), Subscribers: uint32(r.Subscribers),
		})
	}
	for _, f := range n.relayed.flows() {
		reply.Relays = append(reply.Relays, &inspect.Relay{
			Room: f.room, From: string(f.from), Tracks: uint32(f.tracks), Bps: f.bps, Lost: f.lost,
		})
	}
	return &reply
}

func (n *Node) peersAlive() []store.NodeID {
	var ids []store.NodeID
	for _, m := range n.cluster.Members() {
		if m.ID != n.cluster.Self() && m.State != cluster.StateDead {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// origins are the web origins of all nodes.
func (n *Node) origins() []string {
	nodes := n.cluster.Nodes()
	urls := make([]string, 0, len(nodes)+1)
	urls = append(urls, n.cfg.HTTP.PublicURL)
	for _, other := range nodes {
		if other.PublicURL != "" && other.PublicURL != n.cfg.HTTP.PublicURL {
			urls = append(urls, other.PublicURL)
		}
	}
	return urls
}

func (n *Node) relayAddr(id store.NodeID) (string, bool) {
	node, ok := n.cluster.Node(id)
	return node.RelayAddr, ok && node.RelayAddr != ""
}

// edgesOf tells the leader where the participants of a room are, when the home
// of that room has died: the new one should be one of their nodes.
func (n *Node) edgesOf(room store.RoomID) []store.NodeID {
	var ids []store.NodeID
	for _, e := range n.edges.of(room.String()) {
		if e.Sessions > 0 {
			ids = append(ids, e.Node)
		}
	}
	return ids
}

// edgeCache keeps what all nodes reported for a moment: when a node dies, all
// its rooms are asked about at once.
type edgeCache struct {
	gather func(context.Context, ...string) map[string]*inspect.Room

	mu    sync.Mutex // guards what follows
	at    time.Time
	rooms map[string]*inspect.Room
}

const edgesFresh = time.Second

func (c *edgeCache) of(room string) []inspect.EdgeView {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms == nil || time.Since(c.at) > edgesFresh {
		c.rooms = c.gather(context.Background()) // bounded by inspect's own timeout
		c.at = time.Now()
	}
	if r := c.rooms[room]; r != nil {
		return r.Edges
	}
	return nil
}

// flow is what arrives here from one node for one room.
type flow struct {
	room   string
	from   store.NodeID
	tracks int
	bps    float64
	lost   uint64
}

// relayMeter turns the counters of relayed streams into rates. Its Run
// goroutine is the only writer.
type relayMeter struct {
	streams func() []relay.StreamInfo
	latest  atomic.Pointer[map[relayKey]uint64] // bits per second
}

type relayKey struct {
	room string
	from store.NodeID
}

func newRelayMeter(streams func() []relay.StreamInfo) *relayMeter {
	m := &relayMeter{streams: streams}
	m.latest.Store(&map[relayKey]uint64{})
	return m
}

// Run measures until ctx ends.
func (m *relayMeter) Run(ctx context.Context) error {
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	at, before := time.Now(), m.bytes()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, after := time.Now(), m.bytes()
		rates := make(map[relayKey]uint64, len(after))
		for k, n := range after {
			// A stream that ended takes its bytes with it.
			if n > before[k] {
				rates[k] = uint64(float64(n-before[k]) * 8 / now.Sub(at).Seconds())
			}
		}
		m.latest.Store(&rates)
		at, before = now, after
	}
}

func (m *relayMeter) bytes() map[relayKey]uint64 {
	sums := map[relayKey]uint64{}
	for _, s := range m.streams() {
		sums[relayKey{s.Group, s.From}] += s.Bytes
	}
	return sums
}

// flows are the relays to this node. A track counts once, however many layers
// of it cross.
func (m *relayMeter) flows() []flow {
	type track struct {
		pub   media.PubID
		index uint8
	}
	rates := *m.latest.Load()
	at := map[relayKey]*flow{}
	seen := map[relayKey]map[track]bool{}
	var keys []relayKey
	for _, s := range m.streams() {
		k := relayKey{s.Group, s.From}
		if at[k] == nil {
			at[k], seen[k] = &flow{room: s.Group, from: s.From, bps: float64(rates[k])}, map[track]bool{}
			keys = append(keys, k)
		}
		at[k].lost += s.Lost
		if t := (track{s.Pub, s.Track}); !seen[k][t] {
			seen[k][t] = true
			at[k].tracks++
		}
	}
	list := make([]flow, len(keys))
	for i, k := range keys {
		list[i] = *at[k]
	}
	return list
}
