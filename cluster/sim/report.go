package sim

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// Report is what came out. What is under Measured depends on the machine, all
// else on the seed.
type Report struct {
	Nodes       int            `json:"nodes"`
	Rooms       int            `json:"rooms"`
	People      int            `json:"people"`
	Seed        uint64         `json:"seed"`
	Sizes       map[string]int `json:"rooms_of_size"`
	NodeStreams int            `json:"streams_a_node_can_forward"`
	Phases      []Phase        `json:"phases"`
	Raft        Raft           `json:"raft"`
	// Gossip is computed.
	Gossip   cluster.GossipTraffic `json:"gossip"`
	Measured Measured              `json:"measured"`
}

// Phase is the cluster after something.
type Phase struct {
	Name      string             `json:"name"`
	Mean      float64            `json:"mean_load"`
	Imbalance float64            `json:"imbalance"` // of load, max over mean
	Regions   map[string]float64 `json:"imbalance_in_region"`
	Spread    int                `json:"rooms_on_several_nodes"`
	Refused   int                `json:"people_refused"`
	Lost      int                `json:"nodes_lost,omitempty"`
	Of        int                `json:"rooms_of_the_lost,omitempty"`
	Moved     int                `json:"rooms_moved,omitempty"`
	TookMs    float64            `json:"-"`
}

// Raft is what went into the log. What each server writes and a follower is
// sent is this and a few bytes for each entry.
type Raft struct {
	Entries    int `json:"entries"`
	Placements int `json:"placements"`
	Bytes      int `json:"bytes"`
}

// Measured is of this machine.
type Measured struct {
	DecisionP50Us float64 `json:"decision_p50_us"`
	DecisionP99Us float64 `json:"decision_p99_us"`
	DecisionMaxUs float64 `json:"decision_max_us"`
	AppliedPerSec float64 `json:"placements_applied_per_second"`
	StateMB       float64 `json:"state_mb"`
	SnapshotMB    float64 `json:"snapshot_mb"`
	CaptureMs     float64 `json:"capture_ms"`
	SnapshotSec   float64 `json:"snapshot_seconds"`
	RestoreSec    float64 `json:"restore_seconds"`
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// phase notes how the cluster is now.
func (r *run) phase(name string, of, moved int) {
	w := r.world
	p := Phase{Name: name, Of: of, Moved: moved, Refused: w.refused, Regions: map[string]float64{}}
	p.Imbalance, p.Mean = w.imbalance(nil)
	for i, a := range regions() {
		if len(w.living[i]) > 0 {
			p.Regions[a.name], _ = w.imbalance(w.living[i])
		}
	}
	for i := range w.rooms {
		if len(w.rooms[i].edges) > 1 {
			p.Spread++
		}
	}
	r.report.Phases = append(r.report.Phases, p)
}

// measureState takes the size of the state, and has a snapshot written and
// restored.
func (r *run) measureState() error {
	m := &r.report.Measured
	began := time.Now()
	snap, err := r.state.Capture()
	if err != nil {
		return err
	}
	m.CaptureMs = time.Since(began).Seconds() * 1e3
	var b bytes.Buffer
	err = snap.Persist(&b)
	snap.Release()
	if err != nil {
		return err
	}
	m.SnapshotSec, m.SnapshotMB = time.Since(began).Seconds(), float64(b.Len())/1e6

	used := heap()
	copied, err := store.Open(r.cfg.Dir + "/restored")
	if err != nil {
		return err
	}
	began = time.Now()
	err = copied.Restore(bytes.NewReader(b.Bytes()))
	m.RestoreSec = time.Since(began).Seconds()
	m.StateMB = float64(heap()-used) / 1e6
	if err == nil && copied.Rooms() != r.state.Rooms() {
		err = fmt.Errorf("%w: %d of %d rooms restored", store.ErrDamaged, copied.Rooms(), r.state.Rooms())
	}
	runtime.KeepAlive(&b)
	if cerr := copied.Close(); err == nil {
		err = cerr
	}
	return err
}

// finish adds what is known at the end.
func (r *run) finish() {
	rep := &r.report
	rep.Nodes, rep.Rooms, rep.People, rep.Seed = r.cfg.Nodes, r.cfg.Rooms, r.cfg.People, r.cfg.Seed
	rep.Gossip = cluster.TrafficOf(r.cfg.Nodes)
	slices.Sort(r.decisions)
	at := func(share float64) float64 {
		return float64(r.decisions[int(share*float64(len(r.decisions)-1))].Nanoseconds()) / 1e3
	}
	rep.Measured.DecisionP50Us, rep.Measured.DecisionP99Us, rep.Measured.DecisionMaxUs = at(0.50), at(0.99), at(1)
	rep.Measured.AppliedPerSec = float64(rep.Raft.Placements) / r.applying.Seconds()
}

// Write prints the report for people.
func (rep Report) Write(out io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	p("%d nodes in 3 regions, %d rooms, %d people, seed %d; a node forwards %d streams at most", rep.Nodes, rep.Rooms, rep.People, rep.Seed, rep.NodeStreams)
	sizes := ""
	for _, k := range slices.Sorted(maps.Keys(rep.Sizes)) {
		sizes += fmt.Sprintf("  %s: %d", k, rep.Sizes[k])
	}
	p("rooms by people:%s\n", sizes)
	p("%-24s %6s %10s %-26s %7s %8s   %s", "after", "load", "max/mean", "in each region", "spread", "refused", "moves")
	for _, f := range rep.Phases {
		regions, moves := "", ""
		for _, k := range slices.Sorted(maps.Keys(f.Regions)) {
			regions += fmt.Sprintf("%s %.3f  ", k, f.Regions[k])
		}
		if f.Lost > 0 {
			moves = fmt.Sprintf("%d rooms of %d lost nodes, %d moved, decided in %.0f ms", f.Of, f.Lost, f.Moved, f.TookMs)
		}
		p("%-24s %6.3f %10.3f %-26s %7d %8d   %s", f.Name, f.Mean, f.Imbalance, regions, f.Spread, f.Refused, moves)
	}
	m := rep.Measured
	p("\nmeasured on this machine")
	p("  decision among %d nodes: p50 %.1f µs, p99 %.1f µs, max %.0f µs", rep.Nodes, m.DecisionP50Us, m.DecisionP99Us, m.DecisionMaxUs)
	p("  applied to the state: %.0f placements/s", m.AppliedPerSec)
	p("  state in memory %.1f MB; snapshot %.1f MB, captured in %.1f ms, written in %.2f s, restored in %.2f s", m.StateMB, m.SnapshotMB, m.CaptureMs, m.SnapshotSec, m.RestoreSec)
	p("  log: %d placements in %d entries, %.0f bytes each", rep.Raft.Placements, rep.Raft.Entries, float64(rep.Raft.Bytes)/float64(max(1, rep.Raft.Placements)))
	g := rep.Gossip
	p("\ncomputed from memberlist's parameters and a message of %d bytes", g.NewsBytes)
	p("  gossip: each node tells its load every %v, and sends %.0f kB/s (its packets hold %.0f kB/s)", g.NewsEvery, g.SentBytesPerSecond/1e3, g.BoundBytesPerSecond/1e3)
	p("  the leader hears %.0f kB/s with renewals of leases", g.LeaseBytesPerSecond/1e3)
}
