package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what processes use between two moments: those of the nodes, and this
// one, which is the load.
type usage struct {
	names  []string
	pids   []int
	at     time.Time
	before []processTimes
}

// processTimes are how long the threads of a process ran, and how long they
// could have run but waited for a processor.
type processTimes struct{ ran, waited time.Duration }

func startUsage(nodes []node) *usage {
	u := &usage{at: time.Now(), names: []string{"load"}, pids: []int{os.Getpid()}}
	for _, n := range nodes {
		u.names, u.pids = append(u.names, n.Node), append(u.pids, n.PID)
	}
	for _, pid := range u.pids {
		u.before = append(u.before, timesOf(pid))
	}
	return u
}

// stop tells the use of each process as a table, and whether the machine was too
// busy.
func (u *usage) stop() (table string, busy bool) {
	took := time.Since(u.at).Seconds()
	var b strings.Builder
	fmt.Fprintf(&b, "process  CPU of one core  waited for it     memory\n")
	for i, pid := range u.pids {
		now, before := timesOf(pid), u.before[i]
		if now.ran < before.ran { // the process has ended
			continue
		}
		ran, idle := (now.ran-before.ran).Seconds()/took, (now.waited-before.waited).Seconds()/took
		busy = busy || idle > tooBusy*ran
		fmt.Fprintf(&b, "%7s  %13.1f %%  %11.1f %%  %9s\n", u.names[i], 100*ran, 100*idle, memory(pid))
	}
	return b.String(), busy
}

// timesOf sums up /proc/PID/task/*/schedstat. Where there is none, nothing is
// told.
func timesOf(pid int) (sum processTimes) {
	files, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "schedstat"))
	if err != nil {
		return sum
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited int64
		if _, err := fmt.Sscan(string(b), &ran, &waited); err == nil {
			sum.ran += time.Duration(ran)
			sum.waited += time.Duration(waited)
		}
	}
	return sum
}

// memory reads the resident memory of a process.
func memory(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// resident is that memory in KiB.
func resident(t *testing.T, pid int) (kib float64) {
	t.Helper()
	if _, err := fmt.Sscan(memory(pid), &kib); err != nil {
		t.Fatalf("memory of a process: %v", err)
	}
	return kib
}
