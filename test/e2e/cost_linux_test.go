package e2e

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
)

// By default this only shows that the measurement works; docs/performance.md has
// the flags of the real one.
var (
	costWarmUp   = flag.Duration("cost.warm-up", 0, "TestServerCost: how long media flow before; after 10 s nothing grows any more")
	costWindow   = flag.Duration("cost.window", time.Second, "TestServerCost: for how long it is measured")
	costAudience = flag.Int("cost.audience", 4, "TestServerCost: who listens to one publisher")
	costMeetings = flag.Int("cost.meetings", 1, "TestServerCost: meetings of three, all sending")
)

// TestServerCost tells the CPU time of a whole node for each packet that
// somebody got: signaling, what comes in, what goes out and what idles. Every
// packet is decrypted and looked at. A meeting of three is three who send and,
// so that nobody does both, two who listen to each: the same streams.
func TestServerCost(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		server := startCluster(t, 1).nodes[0]
		<-time.After(*costWarmUp)
		idle := costOf(server.PID, func() float64 { <-time.After(*costWindow); return 0 })
		t.Logf("a node without anybody: CPU %.2f %%", 100*idle.busy)
	})
	for _, c := range []struct {
		name                        string
		rooms, publishers, audience int
	}{
		{"audience", 1, 1, *costAudience},
		{"meetings", *costMeetings, 3, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc, cluster := startServing(t, 1)
			server := cluster.nodes[0]
			var runs []*load.Run
			for room := range c.rooms {
				run, err := load.Start(t.Context(), loadPlan(nc, cluster.nodes, fmt.Sprintf("cost-%d", room), c.publishers, c.audience))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(run.Close)
				runs = append(runs, run)
			}
			<-time.After(*costWarmUp)
			var reports []*load.Report
			talkd := costOf(server.PID, func() (rate float64) {
				var awaits []func() *load.Report
				for _, run := range runs {
					awaits = append(awaits, measuring(t.Context(), t, run, *costWindow))
				}
				for _, await := range awaits {
					r := await()
					reports = append(reports, r)
					for i := range r.Streams {
						c := &r.Streams[i].Counts
						rate += float64(c.Received) / c.Took.Seconds()
					}
				}
				return rate
			})
			var problems []string
			for _, r := range reports {
				problems = append(problems, r.Problems()...)
			}
			if len(problems) > 0 {
				t.Errorf("%q", problems)
			}
			used := memory(server.PID)
			for _, run := range runs {
				run.Close()
			}
			floor := measureFloor(t, c.rooms*c.publishers, c.audience)
			t.Logf("%d rooms of %d who send and %d who listen to each: %v, memory %s; floor: %v; %.2f × floor",
				c.rooms, c.publishers, c.audience, talkd, used, floor, talkd.perMillion()/floor.perMillion())
		})
	}
}

// cost is what a process takes.
type cost struct {
	rate float64 // packets that came, in a second
	busy float64 // of one core
}

// costOf looks at a process while it works, for which work tells the rate.
func costOf(pid int, work func() (rate float64)) cost {
	before, began := timesOf(pid), time.Now()
	rate := work()
	// Media flow on for a moment after the window.
	return cost{rate, (timesOf(pid).ran - before.ran).Seconds() / time.Since(began).Seconds()}
}

// perMillion is in seconds of the processor.
func (c cost) perMillion() float64 { return c.busy / c.rate * 1e6 }

func (c cost) String() string {
	return fmt.Sprintf("%.0f packets/s, CPU %.1f %%, %.1f CPU s per million packets", c.rate, 100*c.busy, c.perMillion())
}
