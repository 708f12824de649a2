package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// loadWindow is how long media flow while it is measured.
var loadWindow = flag.Duration("load.window", 10*time.Second, "TestLoadThreeNodes: for how long media are measured")

// TestLoadThreeNodes: one publisher and three subscribers at each of three
// nodes, of a Nextcloud's room. Every packet arrives, unchanged and without a
// gap, and crosses each pair of nodes once.
func TestLoadThreeNodes(t *testing.T) {
	l := startLoad(t)
	l.judge(func(room string) []string {
		l.enter(room, 3, nil)
		await := l.measure(*loadWindow)
		l.checkRelays(*loadWindow, 3)
		report := await()
		t.Logf("measured:\n%s", report)
		problems := report.Problems()
		if got, want := len(report.Streams), 2*3*9; got != want {
			problems = append(problems, fmt.Sprintf("%d streams received, want %d", got, want))
		}
		return problems
	})
}

// TestLoadRepairsLoss: of the video, the network loses a part on the way to the
// nodes and from them. The nodes ask the publishers, and are asked by the
// subscribers, until every packet is there.
func TestLoadRepairsLoss(t *testing.T) {
	const share, window = 0.03, 5 * time.Second
	l := startLoad(t)
	l.judge(func(room string) []string {
		loss := load.NewLoss(share)
		l.enter(room, 1, loss)
		report := l.measure(window)()
		t.Logf("the network lost %d packets; measured:\n%s", loss.Packets(), report)
		problems := report.Problems()
		local, relayed := report.Paths()
		if loss.Packets() == 0 || local.Repaired == 0 || relayed.Repaired == 0 {
			problems = append(problems, fmt.Sprintf("%d lost, repaired %d and %d: this has shown nothing", loss.Packets(), local.Repaired, relayed.Repaired))
		}
		for _, p := range report.Publishers {
			if p.Sent.Missed == 0 || p.Sent.AskedAgain > 3*p.Sent.Missed {
				problems = append(problems, fmt.Sprintf("publisher %d was asked %d times for %d lost packets", p.Number, p.Sent.AskedAgain, p.Sent.Missed))
			}
		}
		return problems
	})
}

// loadedCluster is a cluster with a call of load clients in a Nextcloud's room.
type loadedCluster struct {
	t         *testing.T
	ctx       context.Context
	nextcloud *signalingtest.Nextcloud
	cluster   *cluster

	// Of the call that is going on.
	roomID string // the cluster's name of the room
	run    *load.Run
}

// startLoad starts three nodes that serve a Nextcloud.
func startLoad(t *testing.T) *loadedCluster {
	t.Helper()
	const secret = "a secret of nine subscribers"
	nc := signalingtest.NewNextcloud(t, secret)
	c := startCluster(t, 3, "--backend", nc.URL()+"="+secret)
	ctx, cancel := context.WithTimeout(t.Context(), attempts*(60*time.Second+*loadWindow))
	t.Cleanup(cancel)
	return &loadedCluster{t: t, ctx: ctx, nextcloud: nc, cluster: c}
}

// A run with problems is void when a process waited for a processor this many
// times as long as it had one. Packets are lost in sockets then, and nothing is
// said about the nodes. The run is repeated in another room; the last one counts
// in any case. With nothing else on two cores it is 2 to 3 times.
const (
	tooBusy  = 5
	attempts = 3
)

// judge does a run until it is not void, and fails the test for its problems.
func (l *loadedCluster) judge(run func(room string) (problems []string)) {
	l.t.Helper()
	for attempt := 1; ; attempt++ {
		usage := startUsage(l.cluster.nodes)
		problems := run(fmt.Sprintf("load-%d", attempt))
		table, busy := usage.stop()
		l.t.Logf("of the whole run:\n%s", table)
		if len(problems) == 0 || !busy || attempt == attempts {
			for _, p := range problems {
				l.t.Error(p)
			}
			return
		}
		l.t.Logf("void, as the machine is too busy: %q", problems)
		l.run.Close()
	}
}

// enter starts a call with one publisher and some subscribers at each node.
func (l *loadedCluster) enter(roomName string, subscribers int, loss *load.Loss) {
	l.t.Helper()
	nc := l.nextcloud
	nc.SetRoom(roomName, signalingtest.Room{})
	plan := load.Plan{
		Room: roomName, Publishers: 1, Subscribers: subscribers, Loss: loss,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) {
			user := fmt.Sprintf("user-%d", n)
			return load.Credentials{URL: nc.AuthURL(), Params: nc.AddUser(user, user)}, wire.RoomSessionID("seat-" + user)
		},
		Call: func(publishers, subscribers []wire.RoomSessionID) {
			nc.InCall(l.cluster.nodes[0].HTTP, roomName, callers(publishers, subscribers)...)
		},
	}
	for _, n := range l.cluster.nodes {
		plan.Nodes = append(plan.Nodes, load.Node{Name: n.Node, URL: n.HTTP})
	}
	began := time.Now()
	run, err := load.Start(l.ctx, plan)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(run.Close)
	l.t.Logf("%d sessions receive %d publications %v after the first connection",
		len(run.Sessions()), 3*3*subscribers, time.Since(began).Round(time.Millisecond))
	l.run, l.roomID = run, externalRoom(l.t, nc, roomName)
}

// measure starts a window of measuring; what it returns waits for the report.
func (l *loadedCluster) measure(window time.Duration) func() *load.Report {
	type result struct {
		report *load.Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		report, err := l.run.Measure(l.ctx, window)
		done <- result{report, err}
	}()
	return func() *load.Report {
		l.t.Helper()
		r := <-done
		if r.err != nil {
			l.t.Fatal(r.err)
		}
		return r.report
	}
}

// checkRelays waits until the admin API of a node tells that audio and video of
// each publisher cross to each other node, and at the rate of one publisher:
// once, though several listen there.
func (l *loadedCluster) checkRelays(within time.Duration, subscribers int) {
	l.t.Helper()
	const once = 1.03e6 // bit/s of one publisher's payloads
	var r room
	eventually(l.t, within, "each pair of nodes has one relay of two tracks", func() (bool, string) {
		r = room{}
		l.cluster.admin(l.cluster.nodes[1], "/admin/v1/rooms/"+l.roomID, &r)
		ok := r.ID == l.roomID && r.Home != "" && len(r.Relays) == 6 && len(r.Edges) == 3
		pairs := map[string]bool{}
		for _, x := range r.Relays {
			pairs[x.From+" > "+x.To] = true
			ok = ok && x.From != x.To && x.Tracks == 2 && x.Lost == 0 && x.Bps > 0.8*once && x.Bps < 1.3*once
		}
		for _, e := range r.Edges {
			ok = ok && e.Sessions == 1+subscribers && e.Publishers == 1 && e.Subscribers == 3*subscribers
		}
		return ok && len(pairs) == 6, r.String()
	})
	l.t.Log(r)
}

// externalRoom is the cluster's name of a Nextcloud's room.
func externalRoom(t *testing.T, nc *signalingtest.Nextcloud, name string) string {
	t.Helper()
	registry, err := backend.NewRegistry([]backend.Instance{nc.Instance()})
	if err != nil {
		t.Fatal(err)
	}
	id, err := registry.Resolve(nc.URL())
	if err != nil {
		t.Fatal(err)
	}
	return store.RoomID{Backend: id, Name: name}.String()
}

// callers are in the call with the flags that Talk's clients have with and
// without camera and microphone.
func callers(publishers, subscribers []wire.RoomSessionID) []signalingtest.Caller {
	var all []signalingtest.Caller
	add := func(seats []wire.RoomSessionID, flags backend.Flags) {
		for _, seat := range seats {
			all = append(all, signalingtest.Caller{Session: seat, UserID: strings.TrimPrefix(string(seat), "seat-"), InCall: flags})
		}
	}
	add(publishers, backend.FlagInCall|backend.FlagAudio|backend.FlagVideo)
	add(subscribers, backend.FlagInCall)
	return all
}

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
