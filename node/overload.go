package node

import (
	"time"

	"github.com/talkd/talkd/cluster"
)

// A node that forwards more than it can serves nobody well: packets wait and are
// lost, of voice as of video. So it leaves out video until it is well again:
// admission stops first (headroom.go), then members lose video step by step, voice
// never. Each step has time to show, and comes back when there is room for more
// than it costs.
const (
	// A node is overloaded above the first and has room for a step back below the
	// second: the share of its cores, and of media.max_egress.
	overloadedCPU, easyCPU       = 0.92, 0.75
	overloadedEgress, easyEgress = 1.00, 0.85
	// Packets that wait this long in the node, in the mean of a second, or are
	// lost in it. Whatever the cause, it is more than people put up with.
	overloadedDelay, easyDelay = 50 * time.Millisecond, 10 * time.Millisecond
	overloadedLoss, easyLoss   = 0.01, 0.001

	// shedStep is the share of the video that one step leaves out or takes back.
	// What all video costs is less than the whole node, so that a step back from
	// easyCPU does not lead beyond overloadedCPU.
	shedStep = 1. / 8
	// shedAfter is how many seconds in a row make a node overloaded, and how long
	// a step has to show.
	shedAfter = 3
	// A step is taken back after so many easy seconds in a row. The time doubles
	// each time that taking one back led to overload again.
	easyFirst, easyLast = 10, 160
)

// overload decides how much video is left out. The meter's goroutine owns it.
type overload struct {
	share  float64 // of all video; 0: none is left out
	reason cluster.OverloadReason
	since  time.Time // when the share rose above 0

	over, easy int  // seconds in a row
	wait       int  // easy seconds until a step is taken back
	back       bool // the last step was taken back
}

// update takes what was measured in the last second, and tells how much to leave
// out now.
func (o *overload) update(now time.Time, r rates, limits cluster.Load) (share float64) {
	reason, easy := strain(r, limits)
	switch {
	case reason != "":
		o.over, o.easy = o.over+1, 0
	case easy:
		o.over, o.easy = 0, o.easy+1
	default:
		o.over, o.easy = 0, 0
	}
	if o.share == 0 && o.easy >= easyLast {
		o.wait, o.back = 0, false // what happens from now on is another overload
	}
	o.wait = max(o.wait, easyFirst)
	switch {
	case o.over >= shedAfter && o.share < 1:
		o.more(now, reason)
	case o.share > 0 && o.easy >= o.wait:
		o.less()
	}
	return o.share
}

func (o *overload) more(now time.Time, reason cluster.OverloadReason) {
	if o.share == 0 {
		o.since = now
	}
	if o.back {
		o.wait = min(2*o.wait, easyLast)
	}
	o.share, o.reason = min(1, o.share+shedStep), reason
	o.over, o.back = 0, false
}

func (o *overload) less() {
	if o.back {
		o.wait = max(o.wait/2, easyFirst) // the step before did no harm
	}
	o.share = max(0, o.share-shedStep)
	o.easy, o.back = 0, true
	if o.share == 0 {
		o.reason, o.since = "", time.Time{}
	}
}

// strain names what is beyond its bound, if anything is, and tells whether all
// are well below.
func strain(r rates, limits cluster.Load) (reason cluster.OverloadReason, easy bool) {
	most := limits.MaxEgressBps
	egress := 0.
	if most > 0 {
		egress = r.egressBps / most
	}
	switch {
	case r.own > overloadedCPU:
		reason = cluster.OverloadCPU
	case egress > overloadedEgress:
		reason = cluster.OverloadEgress
	case r.loss > overloadedLoss:
		reason = cluster.OverloadLoss
	case r.delay > overloadedDelay:
		reason = cluster.OverloadDelay
	}
	return reason, r.own < easyCPU && egress < easyEgress && r.loss < easyLoss && r.delay < easyDelay
}
