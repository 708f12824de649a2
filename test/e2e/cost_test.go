package e2e

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// By default this only shows that the measurement works; docs/performance.md has
// the flags of the real one.
var (
	costWindow   = flag.Duration("cost.window", time.Second, "TestServerCost: for how long it is measured")
	costAudience = flag.Int("cost.audience", 4, "TestServerCost: who listens to one publisher")
	costMeetings = flag.Int("cost.meetings", 1, "TestServerCost: meetings of three, all sending")
)

// TestServerCost tells the CPU time of a whole node for each packet that
// somebody got: signaling, what comes in, what goes out and what idles. Every
// packet is decrypted and looked at. A meeting of three is three who send and,
// so that nobody does both, two who listen to each: the same streams.
func TestServerCost(t *testing.T) {
	for _, c := range []struct {
		name                        string
		rooms, publishers, audience int
	}{
		{"audience", 1, 1, *costAudience},
		{"meetings", *costMeetings, 3, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			const secret = "a secret of those who pay"
			nc := signalingtest.NewNextcloud(t, secret)
			server := startCluster(t, 1, "--backend", nc.URL()+"="+secret).nodes[0]
			var runs []*load.Run
			for room := range c.rooms {
				run, err := load.Start(t.Context(), costPlan(nc, server, room, c.publishers, c.audience))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(run.Close)
				runs = append(runs, run)
			}
			before, began := timesOf(server.PID), time.Now()
			reports := measureAll(t, runs)
			// Media flow on for a moment after the window.
			busy := (timesOf(server.PID).ran - before.ran).Seconds() / time.Since(began).Seconds()

			var rate float64 // packets in a second
			var problems []string
			for _, r := range reports {
				problems = append(problems, r.Problems()...)
				for i := range r.Streams {
					c := &r.Streams[i].Counts
					rate += float64(c.Received) / c.Took.Seconds()
				}
			}
			if len(problems) > 0 {
				t.Errorf("%q", problems)
			}
			t.Logf("%d rooms of %d who send and %d who listen: %.0f packets/s, CPU %.1f %%, memory %s, %.1f CPU s per million packets",
				c.rooms, c.publishers, c.audience, rate, 100*busy, memory(server.PID), busy/rate*1e6)
		})
	}
}

func costPlan(nc *signalingtest.Nextcloud, server node, room, publishers, audience int) load.Plan {
	name := fmt.Sprintf("cost-%d", room)
	nc.SetRoom(name, signalingtest.Room{})
	return load.Plan{
		Nodes: []load.Node{{Name: server.Node, URL: server.HTTP}},
		Room:  name, Publishers: publishers, Subscribers: audience,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) {
			user := fmt.Sprintf("user-%d-%d", room, n)
			return load.Credentials{URL: nc.AuthURL(), Params: nc.AddUser(user, user)}, wire.RoomSessionID("seat-" + user)
		},
		Call: func(publishers, subscribers []wire.RoomSessionID) {
			nc.InCall(server.HTTP, name, callers(publishers, subscribers)...)
		},
	}
}

// measureAll measures all runs in the same window.
func measureAll(t *testing.T, runs []*load.Run) []*load.Report {
	t.Helper()
	reports, errs := make([]*load.Report, len(runs)), make(chan error, len(runs))
	for i, run := range runs {
		go func() {
			var err error
			reports[i], err = run.Measure(t.Context(), *costWindow)
			errs <- err
		}()
	}
	for range runs {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	return reports
}
