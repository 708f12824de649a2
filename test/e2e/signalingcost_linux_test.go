package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/signalingtest"
)

// By default this only shows that the measurement works, and that nothing is lost;
// docs/signaling-performance.md has the flags of the real one.
var (
	signalingIdle   = flag.Int("signaling.idle", 20, "TestSignalingCost: sessions that say nothing, in rooms of 10")
	signalingCrowd  = flag.Int("signaling.crowd", 20, "TestSignalingCost: as many again, more quickly")
	signalingSettle = flag.Duration("signaling.settle", 0, "TestSignalingCost: how long they say nothing before the memory is read")
	signalingRoom   = flag.Int("signaling.room", 8, "TestSignalingCost: people in one room who talk")
	signalingWindow = flag.Duration("signaling.window", time.Second, "TestSignalingCost: for how long")
	signalingTurns  = flag.Int("signaling.turns", 1, "TestSignalingCost: how often all of it is done; the medians count")

	signalingPeer       = flag.String("signaling.peer", "", "TestSignalingCost: URL of another signaling server, which does what one node does, by turns with it")
	signalingPeerRun    = flag.String("signaling.peer-run", "", "TestSignalingCost: the command that runs it, as one process")
	signalingPeerPID    = flag.String("signaling.peer-pid", "", "TestSignalingCost: what runs for it beside, such as its NATS server, and counts too: process ids, with commas")
	signalingPeerSecret = flag.String("signaling.peer-secret", "the shared secret of tests", "TestSignalingCost: what it shares with any Nextcloud")
)

// TestSignalingCost tells what a node takes for those who are there, come, and say
// something to everybody in the room. Nothing is lost, whatever they do.
func TestSignalingCost(t *testing.T) {
	table := newVersus()
	defer func() { t.Logf("medians:\n%s", table) }()
	turns := func(t *testing.T, nodes int, measure func(*testing.T, contender)) {
		for turn := range *signalingTurns {
			t.Run(fmt.Sprintf("talkd %d", turn+1), func(t *testing.T) {
				nc, c := startServing(t, nodes)
				measure(t, contender{nodes: c.nodes, talkers: newTalkers(t, nc), pids: pidsOf(c.nodes)})
			})
			if *signalingPeer == "" || nodes > 1 {
				continue
			}
			t.Run(fmt.Sprintf("peer %d", turn+1), func(t *testing.T) {
				nc := signalingtest.NewNextcloud(t, *signalingPeerSecret)
				peer := []node{startPeer(t)}
				measure(t, contender{nodes: peer, talkers: newTalkers(t, nc), pids: append(pidsOf(peer), besidePeer(t)...), peer: true})
			})
		}
	}
	// What a node takes for the first that comes, such as connections to the
	// backend, is not what one more takes.
	const first, firstRooms = 10, 10

	idle := func(sessions int, gap time.Duration) func(*testing.T, contender) {
		return func(t *testing.T, c contender) {
			c.enter(c.nodes, "first", first, firstRooms, time.Millisecond)
			talkFor(t, *signalingSettle)
			empty, before, began := c.resident(), c.ran(), time.Now()
			c.enter(c.nodes, "idle", sessions, 10, gap)
			joining, took := c.ran()-before, time.Since(began)
			full := c.resident()
			talkFor(t, *signalingSettle)
			settled, before, began := c.resident(), c.ran(), time.Now()
			talkFor(t, *signalingWindow)
			resting := (c.ran() - before).Seconds() / time.Since(began).Seconds()
			of := fmt.Sprintf("%d sessions in rooms of 10, one each %v", sessions, gap)
			table.add(c.peer, row{of, "CPU s as they come"}, joining.Seconds())
			table.add(c.peer, row{of, "kB of one"}, (full-empty)/float64(sessions))
			table.add(c.peer, row{of, "kB of one, later"}, (settled-empty)/float64(sessions))
			table.add(c.peer, row{of, "CPU % of all when idle"}, 100*resting)
			t.Logf("%d sessions came within %v", sessions, took.Round(time.Millisecond))
		}
	}
	t.Run("idle", func(t *testing.T) {
		const gap = 10 * time.Millisecond
		turns(t, 1, idle(*signalingIdle, gap))
		took := measureJoinFloor(t, *signalingIdle, gap)
		table.add(false, row{fmt.Sprintf("floor: %d who come, one each %v, the same with sockets and no more", *signalingIdle, gap), "CPU s as they come"}, took.Seconds())
	})
	t.Run("crowd", func(t *testing.T) { turns(t, 1, idle(*signalingCrowd, 2*time.Millisecond)) })

	room := func(t *testing.T, c contender) {
		people := *signalingRoom
		c.enter(c.nodes, "talk", people, people, 10*time.Millisecond)
		talking := func(what string, each int, gap time.Duration) {
			t.Helper()
			expected := each * (people - 1)
			before, clients, began := c.ran(), timesOf(os.Getpid()), time.Now()
			c.say(each, gap)
			o := c.hear(expected)
			took := o.last.Sub(began).Seconds()
			ran := c.ran() - before
			switch all := expected * people; {
			case o.heard == all && o.wrong == 0 && o.ended == 0:
			case c.peer:
				t.Logf("LOST: the peer delivered %d of %d, and %d connections ended (%s)", o.heard, all, o.ended, what)
			default:
				t.Errorf("%s: heard %d of %d, %d not in order, %d connections lost", what, o.heard, all, o.wrong, o.ended)
			}
			of := fmt.Sprintf("%d people, nodes: %d, %s", people, len(c.nodes), what)
			table.add(c.peer, row{of, "deliveries/s"}, float64(o.heard)/took)
			table.add(c.peer, row{of, "CPU % of the nodes"}, 100*ran.Seconds()/took)
			table.add(c.peer, row{of, "CPU % of the clients"}, 100*(timesOf(os.Getpid()).ran-clients.ran).Seconds()/took)
			table.add(c.peer, row{of, "lost, %"}, 100*(1-float64(o.heard)/float64(expected*people)))
			table.add(c.peer, row{of, "CPU s of a million deliveries"}, ran.Seconds()/float64(o.heard)*1e6)
			for _, delays := range []struct {
				where string
				ms    []uint32
			}{{"within a node", o.near}, {"between nodes", o.far}} {
				if len(delays.ms) > 0 {
					table.add(c.peer, row{of, "ms " + delays.where + ", p50"}, quantile(delays.ms, 0.5))
					table.add(c.peer, row{of, "ms " + delays.where + ", p99"}, quantile(delays.ms, 0.99))
				}
			}
		}
		seconds := max(int(signalingWindow.Seconds()), 1)
		for _, each := range []int{1, 2, 5, 10, 15} {
			talking(often(each), each*seconds, time.Second/time.Duration(each))
		}
		talking("20 messages each at once", 20, 0)
	}
	t.Run("room", func(t *testing.T) {
		turns(t, 1, room)
		people := *signalingRoom
		for _, each := range []int{1, 2, 5} {
			took := measureTalkFloor(t, people, each*int(max(signalingWindow.Seconds()/3, 1)), time.Second/time.Duration(each))
			table.add(false, row{fmt.Sprintf("floor: %d people, %s, each delivery a write", people, often(each)), "CPU s of a million deliveries"}, took.Seconds()*1e6)
		}
	})
	t.Run("rooms apart", func(t *testing.T) { turns(t, 3, room) })
}

func often(each int) string { return fmt.Sprintf("%d messages/s each", each) }
