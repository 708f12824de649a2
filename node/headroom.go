package node

import (
	"github.com/talkd/talkd/cluster"
)

// Headroom is what a node could forward on top of what it does: streams, each
// one track to one subscriber. It is an estimate on the careful side: all CPU
// time of this process counts as the price of the packets it sends, and a
// typical stream is taken to be dearer than most are. It counts the process and
// not the machine, which nobody else is meant to use: a machine that is busy
// with something else gets no rooms for that (cluster.Load.CPU), but is not
// called full.
const (
	// A typical stream is the mean of voice (50 packets/s, 40 kbit/s) and a
	// camera of 640x480 (110 packets/s, 1 Mbit/s).
	streamPps = 80
	streamBps = 520e3
	// streamsOfSession is what a session takes: the voices and cameras of two
	// others, as in a call of three.
	streamsOfSession = 4

	// packetCost is seconds of one core per packet sent, receiving and
	// retransmitting included, until there is enough traffic to measure:
	// measuredPps packets per second and core. Below that, most CPU time is
	// waking up.
	packetCost  = 20e-6
	measuredPps = 5000

	// A node is exhausted at the higher share and has room again below the
	// lower one, of all cores and of media.max_egress.
	exhaustedCPU, relievedCPU       = 0.80, 0.70
	exhaustedEgress, relievedEgress = 0.95, 0.85

	// smoothing is the weight of a new second in what admission goes by: a
	// second's peak refuses nobody.
	smoothing = 0.2
)

// capacity is the smoothed use of this node. The meter's goroutine owns it.
type capacity struct {
	cores     float64
	own       float64 // share of all cores that this process uses
	egressBps float64
	egressPps float64
	exhausted bool
}

// room is what capacity says.
type room struct {
	streams   int
	exhausted bool
}

// exhaust takes all room away, whatever was measured.
func (c *capacity) exhaust() room {
	c.exhausted = true
	return room{exhausted: true}
}

// update takes the rates of the last interval.
func (c *capacity) update(r rates, limits cluster.Load) room {
	c.own += smoothing * (r.own - c.own)
	c.egressBps += smoothing * (r.egressBps - c.egressBps)
	c.egressPps += smoothing * (r.egressPps - c.egressPps)

	cost := packetCost / c.cores
	if c.egressPps >= measuredPps*c.cores && c.own > 0 {
		cost = c.own / c.egressPps
	}
	streams := (exhaustedCPU - c.own) / (cost * streamPps)
	most := limits.MaxEgressBps
	if most > 0 {
		streams = min(streams, (exhaustedEgress*most-c.egressBps)/streamBps)
	}
	if limits.MaxSessions > 0 {
		streams = min(streams, float64(limits.MaxSessions-limits.Sessions)*streamsOfSession)
	}
	switch {
	case streams < 1:
		c.exhausted = true
	case c.own < relievedCPU && (most <= 0 || c.egressBps < relievedEgress*most):
		c.exhausted = false
	}
	if c.exhausted {
		streams = 0
	}
	return room{streams: int(streams), exhausted: c.exhausted}
}
