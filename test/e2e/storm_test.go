package e2e

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// By default this only shows that nobody suffers from a few; docs/performance.md
// has the flags of the real one.
var (
	stormPeople   = flag.Int("storm.people", 8, "TestJoinStorm: how many enter a room at once")
	stormTogether = flag.Int("storm.together", 8, "TestJoinStorm: how many of them negotiate at the same time")
	stormWindow   = flag.Duration("storm.window", 3*time.Second, "TestJoinStorm: for how long those who are there already are listened to")
)

// TestJoinStorm: many enter a room at once, one of them sends and all hear and
// see that one. Those who are in a call there already lose nothing by it.
func TestJoinStorm(t *testing.T) {
	const secret, room = "a secret of many", "storm"
	nc := signalingtest.NewNextcloud(t, secret)
	c := startCluster(t, 1, "--backend", nc.URL()+"="+secret)
	server := c.nodes[0]
	nc.SetRoom(room, signalingtest.Room{})
	var inCall []wire.RoomSessionID // those before
	plan := func(kind string, audience int) load.Plan {
		return load.Plan{
			Nodes: []load.Node{{Name: server.Node, URL: server.HTTP}},
			Room:  room, Publishers: 1, Subscribers: audience, Together: *stormTogether,
			Who: func(n int) (load.Credentials, wire.RoomSessionID) {
				user := fmt.Sprintf("%s-%d", kind, n)
				return load.Credentials{URL: nc.AuthURL(), Params: nc.AddUser(user, user)}, wire.RoomSessionID("seat-" + user)
			},
			Call: func(publishers, subscribers []wire.RoomSessionID) {
				listeners := slices.Concat(inCall, subscribers)
				nc.InCall(server.HTTP, room, callers(publishers, listeners)...)
				inCall = slices.Concat(listeners, publishers)
			},
		}
	}
	first, err := load.Start(t.Context(), plan("early", 2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	type result struct {
		report *load.Report
		err    error
	}
	heard := make(chan result, 1)
	go func() {
		report, err := first.Measure(t.Context(), *stormWindow)
		heard <- result{report, err}
	}()
	usage := startUsage(c.nodes)
	before, began := timesOf(server.PID), time.Now()
	storm, err := load.Start(t.Context(), plan("late", *stormPeople-1))
	took := time.Since(began)
	busy := timesOf(server.PID).ran - before.ran
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(storm.Close)
	got := <-heard
	if got.err != nil {
		t.Fatal(got.err)
	}
	_, starved := usage.stop() // see tooBusy
	if problems := got.report.Problems(); len(problems) > 0 && !starved {
		t.Errorf("those who were there: %q", problems)
	} else if len(problems) > 0 {
		t.Logf("void, as the machine is too busy: %q", problems)
	}
	t.Logf("%d entered; after %v all heard and saw, which took %v of CPU time, memory %s; those who were there:\n%s",
		*stormPeople, took.Round(time.Millisecond), busy.Round(time.Millisecond), memory(server.PID), got.report)
}
