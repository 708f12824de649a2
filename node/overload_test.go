package node

import (
	"errors"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

func TestStrain(t *testing.T) {
	limits := cluster.Load{MaxEgressBps: 100e6}
	for name, tt := range map[string]struct {
		rates  rates
		reason cluster.OverloadReason
		easy   bool
	}{
		"idle":               {rates{}, "", true},
		"full, not too full": {rates{own: 0.9, egressBps: 99e6, loss: 0.005, delay: 20 * time.Millisecond}, "", false},
		"processors":         {rates{own: 0.95}, cluster.OverloadCPU, false},
		"another's":          {rates{cpu: 1}, "", true},
		"line":               {rates{egressBps: 101e6}, cluster.OverloadEgress, false},
		"line nearly full":   {rates{egressBps: 90e6}, "", false},
		"loss":               {rates{loss: 0.02}, cluster.OverloadLoss, false},
		"delay":              {rates{delay: 60 * time.Millisecond}, cluster.OverloadDelay, false},
		"a little delay":     {rates{delay: 11 * time.Millisecond}, "", false},
	} {
		if reason, easy := strain(tt.rates, limits); reason != tt.reason || easy != tt.easy {
			t.Errorf("%s: %q %v, want %q %v", name, reason, easy, tt.reason, tt.easy)
		}
	}
	if reason, _ := strain(rates{egressBps: 1e12}, cluster.Load{}); reason != "" {
		t.Errorf("without a limit: %q", reason)
	}
}

// second is a second in the life of a node: how busy it would be with all video,
// of which this much is for voice and all else.
type second struct{ all, voice float64 }

// live tells what share is left out after each second.
func live(o *overload, from time.Time, n int, s second) (shares []float64) {
	for i := range n {
		own := min(1, s.voice+(s.all-s.voice)*(1-o.share))
		shares = append(shares, o.update(from.Add(time.Duration(i)*time.Second), rates{own: own}, cluster.Load{}))
	}
	return shares
}

func steps(shares []float64) (n int) {
	for i := range shares[1:] {
		if shares[i] != shares[i+1] {
			n++
		}
	}
	return n
}

func TestOverload(t *testing.T) {
	var o overload
	at := time.Unix(1000, 0)
	// Two seconds are a peak.
	if got := live(&o, at, 2, second{1.2, 0.2}); got[1] != 0 {
		t.Errorf("a peak: %v", got)
	}
	live(&o, at, 1, second{0.5, 0.2})
	// It finds the share that is enough and keeps it.
	got := live(&o, at, 60, second{1.2, 0.2})
	if last := got[len(got)-1]; last != 3*shedStep {
		t.Errorf("share %v", last)
	}
	if got[0] != 0 || got[1] != 0 || got[2] != shedStep {
		t.Errorf("begins with %v", got[:3])
	}
	if n := steps(got); n != 3 {
		t.Errorf("%d steps: %v", n, got)
	}
	if o.reason != cluster.OverloadCPU || !o.since.Equal(at.Add(2*time.Second)) {
		t.Errorf("%q since %v", o.reason, o.since)
	}
	// When people have left, all comes back, a step at a time.
	got = live(&o, at, 60, second{0.6, 0.2})
	if got[easyFirst-2] != 3*shedStep || got[easyFirst-1] != 2*shedStep || got[len(got)-1] != 0 || steps(got) != 3 {
		t.Errorf("back: %v", got)
	}
	if o.reason != "" || !o.since.IsZero() {
		t.Errorf("%q since %v, with nothing left out", o.reason, o.since)
	}
}

// When nothing but voice is left, there is nothing more to leave out.
func TestOverloadByVoice(t *testing.T) {
	var o overload
	got := live(&o, time.Unix(1000, 0), 100, second{2, 0.97})
	if got[len(got)-1] != 1 {
		t.Errorf("%v", got)
	}
}

// Where a step makes all the difference, as with one large stream, the node tries
// it less and less often.
func TestOverloadDoesNotFlap(t *testing.T) {
	var o overload
	now := time.Unix(1000, 0)
	tries := func(seconds int) (n int) {
		for range seconds {
			own := 0.95
			if o.share > 0 {
				own = 0.5
			}
			before := o.share
			now = now.Add(time.Second)
			if o.update(now, rates{own: own}, cluster.Load{}) < before {
				n++
			}
		}
		return n
	}
	if first, later := tries(300), tries(300); first > 6 || later > 2 {
		t.Errorf("%d, then %d tries in 5 minutes", first, later)
	}
}

// A node that leaves out video takes nobody, however much room that makes, and
// says what it does.
func TestOverloadedNodeTakesNobody(t *testing.T) {
	var ordered []float64
	m := newMeter(nil, func() cluster.Load { return cluster.Load{} }, func(share float64) media.Shed {
		ordered = append(ordered, share)
		return media.Shed{Streams: 40, Lowered: 3, Paused: 2}
	})
	m.capacity.cores = 2
	now := time.Unix(1000, 0)
	var last *measure
	judge := func(n int, r rates) {
		for range n {
			last = m.judge(now, r)
		}
	}
	judge(shedAfter, rates{own: 1})
	want := cluster.Overload{Reason: cluster.OverloadCPU, Since: 1000, Streams: 40, Lowered: 3, Paused: 2}
	if last.overload != want || len(ordered) != 1 || ordered[0] != shedStep {
		t.Errorf("%+v, ordered %v", last.overload, ordered)
	}
	judge(easyFirst-1, rates{own: 0.3})
	if !last.room.exhausted || last.room.streams != 0 {
		t.Errorf("room %+v while video is left out", last.room)
	}
	judge(60, rates{own: 0.3})
	if last.overload != (cluster.Overload{}) || last.room.exhausted {
		t.Errorf("%+v %+v", last.overload, last.room)
	}
	// Once more than needed is ordered when nothing is left out any more.
	if n := len(ordered); n != easyFirst+1 || ordered[n-1] != 0 {
		t.Errorf("ordered %v", ordered)
	}
}

// Who cannot be sent elsewhere is not let in either.
func TestOverloadedNodeRefuses(t *testing.T) {
	err := places{overloaded: func() bool { return true }}.Admit()
	if !errors.Is(err, wire.ErrClusterFull) {
		t.Errorf("%v", err)
	}
}
