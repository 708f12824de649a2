package media

import (
	"sync/atomic"
	"time"
)

// GroupCounters are the figures of one Group on this node.
type GroupCounters struct {
	Group       string
	Publishers  int
	Subscribers int
	PacketsIn   uint64
	BytesIn     uint64
	PacketsOut  uint64
	BytesOut    uint64
}

// Totals are the figures of the whole engine since its start. In counts what
// publishers and other nodes sent here, Out what went to subscribers.
type Totals struct {
	Publishers  int
	Subscribers int
	PacketsIn   uint64
	BytesIn     uint64
	PacketsOut  uint64
	BytesOut    uint64
	// PacketsLost are those that this node or its kernel had no room for.
	PacketsLost uint64
	// Delays are how often it was measured how long packets take through this
	// node, and Delay is the sum of that.
	Delays uint64
	Delay  time.Duration
}

// traffic counts the packets of one group, and of all in the total.
type traffic struct {
	total                                    *traffic
	packetsIn, bytesIn, packetsOut, bytesOut atomic.Uint64
	delays                                   atomic.Uint64
	delay                                    atomic.Int64
}

func (t *traffic) in(packets, bytes int) {
	for ; t != nil; t = t.total {
		t.packetsIn.Add(uint64(packets))
		t.bytesIn.Add(uint64(bytes))
	}
}

func (t *traffic) out(packets, bytes int) {
	for ; t != nil; t = t.total {
		t.packetsOut.Add(uint64(packets))
		t.bytesOut.Add(uint64(bytes))
	}
}

// outgoing sums up what a batch is to several subscribers, as the figures are
// shared with all cores.
type outgoing struct {
	stats          *traffic
	packets, bytes int
}

func (o *outgoing) add(stats *traffic, packets, bytes int) {
	if o.stats != stats {
		o.count()
		*o = outgoing{stats: stats}
	}
	o.packets += packets
	o.bytes += bytes
}

func (o *outgoing) count() {
	if o.packets > 0 {
		o.stats.out(o.packets, o.bytes)
	}
}

// took notes how long a packet took through the node.
func (t *traffic) took(d time.Duration) {
	for ; t != nil; t = t.total {
		t.delays.Add(1)
		t.delay.Add(int64(d))
	}
}

// group is what an engine knows of a Group. It exists as long as something
// belongs to it.
type group struct {
	traffic
	stage       *stage // nil where all voices are heard
	users       int    // publishers, subscribers and pulls
	publishers  int
	subscribers int
}

// joinLocked returns the group and counts one more user of it.
func (e *Engine) joinLocked(name string) *group {
	g := e.groups[name]
	if g == nil {
		g = &group{traffic: traffic{total: &e.total}, stage: newStage(e.cfg.Loudest, e.metrics.unheard)}
		e.groups[name] = g
	}
	g.users++
	return g
}

func (e *Engine) leaveLocked(name string) {
	g := e.groups[name]
	if g.users--; g.users == 0 {
		delete(e.groups, name)
	}
}

// Counters returns the figures of all groups that have somebody here.
func (e *Engine) Counters() []GroupCounters {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]GroupCounters, 0, len(e.groups))
	for name, g := range e.groups {
		out = append(out, GroupCounters{
			Group:       name,
			Publishers:  g.publishers,
			Subscribers: g.subscribers,
			PacketsIn:   g.packetsIn.Load(),
			BytesIn:     g.bytesIn.Load(),
			PacketsOut:  g.packetsOut.Load(),
			BytesOut:    g.bytesOut.Load(),
		})
	}
	return out
}

// Totals returns the figures of the engine.
func (e *Engine) Totals() Totals {
	e.mu.Lock()
	publishers, subscribers := len(e.publishers), len(e.subscribers)
	e.mu.Unlock()
	return Totals{
		Publishers:  publishers,
		Subscribers: subscribers,
		PacketsIn:   e.total.packetsIn.Load(),
		BytesIn:     e.total.bytesIn.Load(),
		PacketsOut:  e.total.packetsOut.Load(),
		BytesOut:    e.total.bytesOut.Load(),
		PacketsLost: e.metrics.sourceLost.Load() + e.net.udp.NoRoom(),
		Delays:      e.total.delays.Load(),
		Delay:       time.Duration(e.total.delay.Load()),
	}
}
