package cluster_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
)

// A clock that is off by more than certificates bear stops a node at its start,
// and the node says by how much.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 2)
	wrong := func(n *clustertest.Node, off time.Duration) {
		n.Opened = func(c *cluster.Cluster) { c.SetClock(off) }
	}
	stops := func(n *clustertest.Node, says string) {
		t.Helper()
		n.Start()
		if err := n.Wait(); !errors.Is(err, cluster.ErrClock) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		} else {
			t.Log(err)
		}
	}
	joiner := k.Prepare()
	wrong(joiner, 3*time.Hour)
	stops(joiner, "it is 3h0m")
	joiner.Opened = nil
	joiner.Start() // with the same token
	joiner.AwaitReady()

	n := k.Followers()[0]
	if n == joiner {
		n = k.Followers()[1]
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	for off, says := range map[time.Duration]string{
		-3 * time.Hour:        "behind that of node",
		40 * 24 * time.Hour:   "it is 960h0m",        // its certificate seems to have expired
		-400 * 24 * time.Hour: "behind that of node", // and not to be good yet
	} {
		wrong(n, off)
		stops(n, says)
	}
	wrong(n, 10*time.Second) // this is worth a warning only
	n.Start()
	n.AwaitReady()
	n.Opened = nil
}

// With the data of one cluster a node does not wait for another for ever.
func TestWrongCluster(t *testing.T) {
	t.Parallel()
	k, other := clustertest.Start(t, 3), clustertest.Start(t, 2)
	n := k.Followers()[0]
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	moved := other.Prepare()
	if err := os.CopyFS(moved.Config.DataDir, os.DirFS(n.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	moved.Config.NodeID = n.ID
	moved.Start()
	if err := moved.Wait(); !errors.Is(err, cluster.ErrWrongCluster) {
		t.Errorf("Run: %v", err)
	}
}
