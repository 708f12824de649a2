package node

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// loadInterval is how often the node measures itself; gossip sends the newest.
const loadInterval = time.Second

// traffic are counters since the start of the process.
type traffic struct {
	inBytes, outBytes, outPackets uint64
}

// rates is what a node measures of itself over the last interval.
type rates struct {
	cpu        float64 // share of the machine, 0–1
	ingressBps float64
	egressBps  float64
	egressPps  float64
}

// meter measures the node's own load. Its Run goroutine is the only writer.
type meter struct {
	count  func() traffic
	latest atomic.Pointer[rates]
}

func newMeter(count func() traffic) *meter {
	m := &meter{count: count}
	m.latest.Store(new(rates))
	return m
}

func (m *meter) rates() rates { return *m.latest.Load() }

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
		m.latest.Store(ratesBetween(now.Sub(at).Seconds(), before, after, cpu, cpuNow))
		at, before, cpu = now, after, cpuNow
	}
}

func ratesBetween(seconds float64, a, b traffic, cpuA, cpuB cpuTimes) *rates {
	r := new(rates)
	if seconds > 0 {
		r.ingressBps = float64(b.inBytes-a.inBytes) * 8 / seconds
		r.egressBps = float64(b.outBytes-a.outBytes) * 8 / seconds
		r.egressPps = float64(b.outPackets-a.outPackets) / seconds
	}
	if total := cpuB.total - cpuA.total; total > 0 {
		r.cpu = min(1, max(0, float64(cpuB.busy-cpuA.busy)/float64(total)))
	}
	return r
}

// cpuTimes are clock ticks of the whole machine since its boot.
type cpuTimes struct{ busy, total uint64 }

// readCPU reads the first line of /proc/stat (proc_stat(5)). Elsewhere than on
// Linux the share stays 0, and placement goes by sessions and bandwidth.
func readCPU() cpuTimes {
	if runtime.GOOS != "linux" {
		return cpuTimes{}
	}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpuTimes{}
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return parseCPU(line)
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
