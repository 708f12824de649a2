package e2e

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
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
		await := measuring(l.ctx, t, l.run, *loadWindow)
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
		report := measuring(l.ctx, t, l.run, window)()
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
	nc, c := startServing(t, 3)
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
	plan := loadPlan(l.nextcloud, l.cluster.nodes, roomName, 1, subscribers)
	plan.Loss = loss
	began := time.Now()
	run, err := load.Start(l.ctx, plan)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(run.Close)
	l.t.Logf("%d sessions receive %d publications %v after the first connection",
		len(run.Sessions()), 3*3*subscribers, time.Since(began).Round(time.Millisecond))
	l.run, l.roomID = run, externalRoom(l.t, l.nextcloud, roomName)
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
