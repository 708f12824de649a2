package e2e

import (
	"flag"
	"testing"
	"time"
)

// By default this only shows that the measurement works, and that nothing is lost;
// docs/performance.md has the flags of the real one.
var (
	signalingIdle   = flag.Int("signaling.idle", 20, "TestSignalingCost: sessions that say nothing, in rooms of 10")
	signalingCrowd  = flag.Int("signaling.crowd", 20, "TestSignalingCost: as many again, more quickly")
	signalingSettle = flag.Duration("signaling.settle", 0, "TestSignalingCost: how long they say nothing before the memory is read")
	signalingRoom   = flag.Int("signaling.room", 8, "TestSignalingCost: people in one room who talk")
	signalingWindow = flag.Duration("signaling.window", time.Second, "TestSignalingCost: for how long")
)

// TestSignalingCost tells what a node takes for those who are there, come, and say
// something to everybody in the room. Nothing is lost, whatever they do.
func TestSignalingCost(t *testing.T) {
	start := func(t *testing.T, nodes int) (*cluster, *talkers) {
		nc, c := startServing(t, nodes)
		return c, newTalkers(t, nc)
	}
	// What a node takes for the first that comes, such as connections to the
	// backend, is not what one more takes.
	const first, firstRooms = 10, 10

	idle := func(sessions int, gap time.Duration) func(*testing.T) {
		return func(t *testing.T) {
			c, ts := start(t, 1)
			server := c.nodes[0]
			ts.enter(c.nodes, "first", first, firstRooms, time.Millisecond)
			talkFor(t, *signalingSettle)
			empty, before, began := resident(t, server.PID), timesOf(server.PID), time.Now()
			ts.enter(c.nodes, "idle", sessions, 10, gap)
			joined, took := timesOf(server.PID), time.Since(began)
			full := resident(t, server.PID)
			talkFor(t, *signalingSettle)
			settled := resident(t, server.PID)
			resting := costOf(server.PID, func() float64 { talkFor(t, *signalingWindow); return 0 })
			t.Logf("%d sessions in rooms of 10 came within %v: CPU %.2f s; memory of one %.1f kB, after %v %.1f kB; CPU of all when idle %.2f %%",
				sessions, took.Round(time.Millisecond), (joined.ran - before.ran).Seconds(),
				(full-empty)/float64(sessions), *signalingSettle, (settled-empty)/float64(sessions), 100*resting.busy)
		}
	}
	t.Run("idle", idle(*signalingIdle, 10*time.Millisecond))
	t.Run("crowd", idle(*signalingCrowd, 2*time.Millisecond))

	for _, c := range []struct {
		name  string
		nodes int
	}{{"room", 1}, {"rooms apart", 3}} {
		t.Run(c.name, func(t *testing.T) {
			c, ts := start(t, c.nodes)
			people := *signalingRoom
			ts.enter(c.nodes, "talk", people, people, 10*time.Millisecond)
			talking := func(what string, each int, gap time.Duration) {
				t.Helper()
				expected := each * (people - 1)
				var before []processTimes
				for _, n := range c.nodes {
					before = append(before, timesOf(n.PID))
				}
				began := time.Now()
				ts.say(each, gap)
				o := ts.await(expected, time.Minute)
				took := time.Since(began).Seconds()
				var ran time.Duration
				for i, n := range c.nodes {
					ran += timesOf(n.PID).ran - before[i].ran
				}
				if o.heard != expected*people || o.wrong > 0 || o.ended > 0 {
					t.Errorf("%s: heard %d of %d, %d not in order, %d connections lost", what, o.heard, expected*people, o.wrong, o.ended)
				}
				t.Logf("%d people at %d nodes, %s: %.0f deliveries/s, CPU %.0f %%, %.1f CPU s per million; within a node %s; between nodes %s",
					people, len(c.nodes), what, float64(o.heard)/took, 100*ran.Seconds()/took, ran.Seconds()/float64(o.heard)*1e6,
					quantiles(o.near), quantiles(o.far))
			}
			seconds := max(int(signalingWindow.Seconds()), 1)
			talking("1 message/s each", seconds, time.Second)
			talking("2 messages/s each", 2*seconds, time.Second/2)
			talking("5 messages/s each", 5*seconds, time.Second/5)
			talking("20 messages each at once", 20, 0)
		})
	}
}
