package e2e

import (
	"syscall"
	"testing"
	"time"
)

// TestDrainDuringCall: the home of a room is told to stop while people at three
// nodes talk. Who is there goes to another node, and then the process ends. It
// needs no machines of its own, as TestPlanned does.
func TestDrainDuringCall(t *testing.T) {
	cluster := startCluster(t, 3)
	c := newCall(t, "127.0.0.1", cluster.nodes)
	t.Cleanup(c.close)
	c.token = cluster.conversation(cluster.nodes[0], "Drain")
	c.enter(cluster.nodes[2])
	home := cluster.awaitHome(c.token)
	for _, n := range cluster.nodes {
		c.enter(n)
	}
	eventually(t, time.Minute, "everybody hears everybody", c.allHear)
	o := c.planned(func() {
		if err := syscall.Kill(home.PID, syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		c.goneFrom(home, movedWithin)
		eventually(t, movedWithin, "the process ends", func() (bool, string) { return syscall.Kill(home.PID, 0) != nil, "" })
	})
	c.logIncidents(o.at)
	t.Logf("%s has ended %v after the signal", home.Node, o.well.Round(100*time.Millisecond))
}
