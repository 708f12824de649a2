package node

import (
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
)

// use lets the same second happen until it has sunk in.
func use(c *capacity, r rates, limits cluster.Load) room {
	var got room
	for range 60 {
		got = c.update(r, limits)
	}
	return got
}

// Each limit by itself, and that the tightest counts.
func TestHeadroom(t *testing.T) {
	for name, tt := range map[string]struct {
		rates  rates
		limits cluster.Load
		want   int
	}{
		// 0.8 of two cores at 20 µs × 80 packets a second.
		"idle": {rates{}, cluster.Load{}, 1000},
		// Half of the machine for 20,000 packets: 50 µs of a core each.
		"busy, measured":             {rates{own: 0.5, egressPps: 20_000}, cluster.Load{}, 150},
		"little traffic is no proof": {rates{own: 0.1, egressPps: 1000}, cluster.Load{}, 875},
		"egress":                     {rates{egressBps: 50e6}, cluster.Load{MaxEgressBps: 100e6}, 86},
		"sessions":                   {rates{}, cluster.Load{MaxSessions: 100, Sessions: 90}, 40},
		"a machine busy with others": {rates{cpu: 1}, cluster.Load{}, 1000},
	} {
		got := use(&capacity{cores: 2}, tt.rates, tt.limits)
		if got.exhausted || got.streams < tt.want-1 || got.streams > tt.want+1 {
			t.Errorf("%s: %+v, want %d", name, got, tt.want)
		}
	}
}

// A node that is full says so until there is real relief, and a peak of one
// second is nothing.
func TestExhausted(t *testing.T) {
	c := &capacity{cores: 2}
	calm, full := rates{own: 0.3, egressPps: 20_000}, rates{own: 0.9, egressPps: 40_000}
	use(c, calm, cluster.Load{})
	if got := c.update(full, cluster.Load{}); got.exhausted || got.streams == 0 {
		t.Errorf("after a peak: %+v", got)
	}
	if got := use(c, full, cluster.Load{}); !got.exhausted || got.streams != 0 {
		t.Errorf("full: %+v", got)
	}
	if got := use(c, rates{own: 0.75, egressPps: 33_000}, cluster.Load{}); !got.exhausted || got.streams != 0 {
		t.Errorf("a little less: %+v", got)
	}
	if got := use(c, calm, cluster.Load{}); got.exhausted || got.streams == 0 {
		t.Errorf("calm again: %+v", got)
	}
	limits := cluster.Load{MaxEgressBps: 100e6}
	if got := use(c, rates{egressBps: 96e6}, limits); !got.exhausted {
		t.Errorf("uplink full: %+v", got)
	}
	if got := use(c, rates{egressBps: 90e6}, limits); !got.exhausted {
		t.Errorf("uplink almost full: %+v", got)
	}
	if got := use(c, rates{egressBps: 50e6}, limits); got.exhausted {
		t.Errorf("uplink half empty: %+v", got)
	}
}

func TestParseOwnCPU(t *testing.T) {
	for line, want := range map[string]uint64{
		"123 (talkd) S 1 1 1 0 -1 4194560 1 2 3 4 700 50 0 0 20 0": 750,
		"123 (a) b) R 1 1 1 0 -1 4194560 1 2 3 4 7 5 0 0 20 0":     12,
		"123 (talkd) S 1": 0,
		"":                0,
	} {
		if got := parseOwnCPU(line); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

// The admin API takes a node without headroom for one that takes no rooms, as
// placement does.
func TestExhaustedTakesNoRooms(t *testing.T) {
	m := cluster.Member{State: cluster.StateAlive}
	if !nodeView(m, time.Now()).TakesRooms {
		t.Error("a node that is alive takes no rooms")
	}
	m.Load.Exhausted = true
	if nodeView(m, time.Now()).TakesRooms {
		t.Error("a node that is exhausted takes rooms")
	}
}
