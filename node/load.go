package node

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/media"
)

// loadInterval is how often the node measures itself; gossip sends the newest.
const loadInterval = time.Second

// traffic are counters since the start of the process.
type traffic struct {
	inBytes, outBytes, outPackets uint64

	lost   uint64 // packets that found no room in this node
	delays uint64 // how often it was measured how long they take through it
	delay  time.Duration
}

// rates is what a node measures of itself over the last interval.
type rates struct {
	cpu        float64 // share of the machine that is used, 0–1
	own        float64 // share of the cores that this process may use that it uses, 0–1
	ingressBps float64
	egressBps  float64
	egressPps  float64
	loss       float64       // share of the packets that found no room in this node
	delay      time.Duration // of packets in this node, in the mean
}

// meter measures the node's own load. Its Run goroutine is the only writer.
type meter struct {
	count    func() traffic
	limits   func() cluster.Load // and how many sessions there are
	shed     func(share float64) media.Shed
	capacity capacity
	overload overload
	latest   atomic.Pointer[measure]
}

// measure is what the meter last found.
type measure struct {
	rates
	room     room
	share    float64 // of the video that is left out
	overload cluster.Overload
}

func newMeter(count func() traffic, limits func() cluster.Load, shed func(share float64) media.Shed) *meter {
	m := &meter{count: count, limits: limits, shed: shed, capacity: capacity{cores: cores()}}
	m.latest.Store(new(measure))
	return m
}

func (m *meter) measure() measure { return *m.latest.Load() }

// Run measures until ctx ends.
func (m *meter) Run(ctx context.Context) error {
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	at, before, cpu := time.Now(), m.count(), readCPU()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		now, after, cpuNow := time.Now(), m.count(), readCPU()
		r := ratesBetween(now.Sub(at).Seconds(), before, after, cpu, cpuNow, m.capacity.cores)
		m.latest.Store(m.judge(now, r))
		at, before, cpu = now, after, cpuNow
	}
}

// judge draws the conclusions from the last interval: what there is room for, and
// what is left out.
func (m *meter) judge(now time.Time, r rates) *measure {
	limits, before := m.limits(), m.overload.share
	found := &measure{rates: r, room: m.capacity.update(r, limits), share: m.overload.update(now, r, limits)}
	var done media.Shed
	if found.share > 0 || before > 0 {
		done = m.shed(found.share)
	}
	if found.share > 0 {
		// Without what is left out there would be room, but not for newcomers.
		found.room = m.capacity.exhaust()
		found.overload = cluster.Overload{
			Reason: m.overload.reason, Since: m.overload.since.Unix(),
			Streams: done.Streams, Lowered: done.Lowered, Paused: done.Paused,
		}
	}
	return found
}

func ratesBetween(seconds float64, a, b traffic, cpuA, cpuB cpuTimes, cores float64) rates {
	var r rates
	if seconds > 0 {
		r.ingressBps = float64(b.inBytes-a.inBytes) * 8 / seconds
		r.egressBps = float64(b.outBytes-a.outBytes) * 8 / seconds
		r.egressPps = float64(b.outPackets-a.outPackets) / seconds
		if cpuB.own > cpuA.own {
			r.own = min(1, float64(cpuB.own-cpuA.own)/(userHZ*seconds*cores))
		}
	}
	if lost := b.lost - a.lost; lost > 0 {
		r.loss = float64(lost) / float64(lost+b.outPackets-a.outPackets)
	}
	if n := b.delays - a.delays; n > 0 {
		r.delay = (b.delay - a.delay) / time.Duration(n)
	}
	if total := cpuB.total - cpuA.total; total > 0 {
		r.cpu = min(1, max(0, float64(cpuB.busy-cpuA.busy)/float64(total)))
	}
	return r
}

// userHZ is how many of the kernel's clock ticks are a second (proc(5)); it is the
// same on all of Go's platforms.
const userHZ = 100

// cpuTimes are clock ticks of the whole machine since its boot, and of this
// process since its start.
type cpuTimes struct{ busy, total, own uint64 }

// readCPU reads the first line of /proc/stat (proc_stat(5)) and /proc/self/stat
// (proc_pid_stat(5)). Elsewhere than on Linux the shares stay 0, and placement
// goes by sessions and bandwidth.
func readCPU() cpuTimes {
	if runtime.GOOS != "linux" {
		return cpuTimes{}
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}
	}
	line, _, _ := strings.Cut(string(b), "\n")
	t := parseCPU(line)
	if b, err = os.ReadFile("/proc/self/stat"); err == nil {
		t.own = parseOwnCPU(string(b))
	}
	return t
}

// parseOwnCPU adds user and system time, the 14th and 15th field; the second is
// a name that may hold anything.
func parseOwnCPU(line string) uint64 {
	_, rest, _ := strings.Cut(line[strings.LastIndexByte(line, ')')+1:], " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, err := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	if err != nil || err2 != nil {
		return 0
	}
	return user + system
}

func parseCPU(line string) cpuTimes {
	var t cpuTimes
	fields := strings.Fields(line)
	// cpu user nice system idle iowait irq softirq steal; guest is in user.
	for i, f := range fields[min(1, len(fields)):min(9, len(fields))] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return cpuTimes{}
		}
		t.total += n
		if i != 3 && i != 4 {
			t.busy += n
		}
	}
	return t
}
