package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

func room(i int) store.RoomID { return store.RoomID{Name: fmt.Sprintf("room-%d", i)} }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clustertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func place(t *testing.T, n *clustertest.Node, r store.RoomID) store.Home {
	t.Helper()
	home, err := n.Place(within(t), r, cluster.Hint{})
	if err != nil {
		t.Fatalf("%s places %s: %v", n.ID, r, err)
	}
	return home
}

func TestFind(t *testing.T) { virtual(t, find) }

// Any node finds the home of a room, and none decides on one by that.
func find(t *testing.T) {
	k := clustertest.Start(t, 3)
	leader := k.AwaitLeader()
	home := place(t, leader, room(1))
	for i := range 3 {
		n := k.Node(i)
		if got, err := n.Find(within(t), room(1)); err != nil || got != home {
			t.Errorf("%s: %+v: %v; placed %+v", n.ID, got, err, home)
		}
		if got, err := n.Find(within(t), room(2)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s finds %+v: %v", n.ID, got, err)
		}
		if _, ok := n.Lookup(room(2)); ok {
			t.Errorf("%s: asking placed the room", n.ID)
		}
		if _, err := n.Find(within(t), store.RoomID{}); err == nil {
			t.Errorf("%s finds a room without a name", n.ID)
		}
	}
}

func TestOneNodeIsACluster(t *testing.T) { virtual(t, oneNodeIsACluster) }

func oneNodeIsACluster(t *testing.T) {
	k := clustertest.Start(t, 1)
	n := k.Node(0)
	k.Await("the lease", n.Lease)
	home := place(t, n, room(1))
	if home.Node != n.ID || home.Epoch == 0 {
		t.Errorf("home %+v", home)
	}
	if got, ok := n.Lookup(room(1)); !ok || got != home {
		t.Errorf("Lookup %+v, %t; placed %+v", got, ok, home)
	}
	s := n.Status()
	if s.Leader != n.ID || !s.Quorum || !s.Lease || !s.Ready || s.Voters != 1 || s.Alive != 1 || s.Rooms != 1 || s.ClusterID == "" {
		t.Errorf("status %+v", s)
	}
	sealed := n.Sealer("test").Seal([]byte("text"))
	if plain, err := n.Sealer("test").Open(sealed); err != nil || string(plain) != "text" {
		t.Errorf("opened %q: %v", plain, err)
	}
	if _, err := n.Propose(within(t), store.NewReleaseRoom(time.Now(), room(1), home.Epoch+1)); !errors.Is(err, store.ErrStaleEpoch) {
		t.Errorf("release with a wrong epoch: %v", err)
	}
	if _, err := n.Propose(within(t), store.NewReleaseRoom(time.Now(), room(1), home.Epoch)); err != nil {
		t.Errorf("release: %v", err)
	}
	before, err := n.RenewCertificate(time.Now())
	if err != nil {
		t.Errorf("a certificate that is not due: %v", err)
	}
	soon := before.Add(-24 * time.Hour)
	if after, err := n.RenewCertificate(soon); err != nil || !after.After(soon.Add(48*time.Hour)) {
		t.Errorf("certificate good until %s, before %s: %v", after, before, err)
	}
	if err := n.Stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if n.Lease() {
		t.Error("a stopped node has a lease")
	}
	if _, err := n.Propose(within(t), store.NewReleaseRoom(time.Now(), room(1), 1)); !errors.Is(err, cluster.ErrClosed) {
		t.Errorf("proposing after the end: %v", err)
	}
}

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 3)
	leader := k.AwaitLeader()
	for _, n := range k.Running() {
		k.Await("members on "+string(n.ID), func() bool {
			members := n.Members()
			for _, m := range members {
				if m.State != cluster.StateAlive || m.Raft != cluster.RaftVoter || m.Leader != (m.ID == leader.ID) {
					return false
				}
			}
			return len(members) == 3
		})
		k.Await("the lease of "+string(n.ID), n.Lease)
	}

	t.Run("a follower proposes", func(t *testing.T) {
		for i, n := range k.Followers() {
			if _, err := n.Propose(within(t), store.NewAssignHome(time.Now(), room(100+i), n.ID, 0, store.ReasonNew)); err != nil {
				t.Fatal(err)
			}
			if home, ok := n.Lookup(room(100 + i)); !ok || home.Node != n.ID {
				t.Errorf("not applied on the node that proposed: %+v", home)
			}
			_, err := n.Propose(within(t), store.NewAssignHome(time.Now(), room(100+i), n.ID, 0, store.ReasonNew))
			if !errors.Is(err, store.ErrStaleEpoch) {
				t.Errorf("the second time: %v", err)
			}
		}
	})

	t.Run("all agree on homes", func(t *testing.T) {
		for i := range 9 {
			first := place(t, k.Node(i%3), room(i))
			for _, n := range k.Running() {
				if home := place(t, n, room(i)); home != first {
					t.Errorf("room %d: %+v on %s, %+v before", i, home, n.ID, first)
				}
			}
		}
	})

	t.Run("sealed on one, opened on all", func(t *testing.T) {
		sealed := k.Node(0).Sealer("resume").Seal([]byte("text"))
		for _, n := range k.Running() {
			if plain, err := n.Sealer("resume").Open(sealed); err != nil || string(plain) != "text" {
				t.Errorf("%s opened %q: %v", n.ID, plain, err)
			}
			if _, err := n.Sealer("redirect").Open(sealed); !errors.Is(err, cluster.ErrNotSealed) {
				t.Errorf("%s opened it for another purpose: %v", n.ID, err)
			}
		}
	})

	t.Run("draining", func(t *testing.T) {
		n := k.Node(1)
		n.SetDraining(true)
		for _, other := range k.Running() {
			k.Await("draining seen on "+string(other.ID), func() bool { return other.Members()[1].State == cluster.StateDraining })
		}
		for i := range 6 {
			if home := place(t, n, room(200+i)); home.Node == n.ID {
				t.Errorf("room placed on a draining node")
			}
		}
		n.SetDraining(false)
		k.Await("not draining", func() bool { return k.Node(0).Members()[1].State == cluster.StateAlive })
	})

	t.Run("a second process on the directory", func(t *testing.T) {
		state, err := store.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer state.Close()
		if _, err := cluster.Open(k.Node(2).Config, cluster.Deps{State: state, Logger: discard()}); !errors.Is(err, cluster.ErrLocked) {
			t.Errorf("%v", err)
		}
	})

	t.Run("restart with the same command line", func(t *testing.T) {
		n := k.Followers()[0]
		before, _ := n.Lookup(room(0))
		if err := n.Stop(); err != nil {
			t.Fatalf("Run: %v", err)
		}
		k.Await("the others to see it go", func() bool { return state(leader, n.ID) == cluster.StateDead })
		n.Start()
		n.AwaitReady()
		if home, ok := n.Lookup(room(0)); !ok || home.Epoch < before.Epoch {
			t.Errorf("room 0 has %+v, had %+v", home, before)
		}
		k.Await("it is back", func() bool { return state(leader, n.ID) == cluster.StateAlive && n.Lease() })
	})

	t.Run("the leader stops", func(t *testing.T) {
		leader := k.AwaitLeader()
		followers := k.Followers()
		if err := leader.Stop(); err != nil {
			t.Fatalf("Run: %v", err)
		}
		if got := k.AwaitLeader(followers...); got == leader {
			t.Error("the stopped node still leads")
		}
		place(t, followers[0], room(300))
	})
}

func state(on *clustertest.Node, of store.NodeID) cluster.MemberState {
	for _, m := range on.Members() {
		if m.ID == of {
			return m.State
		}
	}
	return ""
}

func TestWholeClusterRestarts(t *testing.T) { virtual(t, wholeClusterRestarts) }

func wholeClusterRestarts(t *testing.T) {
	k := clustertest.Start(t, 3)
	nodes := k.Running()
	home := place(t, nodes[1], room(1))
	for _, n := range nodes {
		n.Kill()
	}
	for _, n := range nodes {
		n.Start()
	}
	for _, n := range nodes {
		n.AwaitReady()
		if got, ok := n.Lookup(room(1)); !ok || got != home {
			t.Errorf("%s: %+v, before %+v", n.ID, got, home)
		}
	}
}

// A node that begins with a snapshot knows as much as one that begins with the
// log, also when the last entry before it was no command.
func TestRestartFromSnapshot(t *testing.T) { virtual(t, restartFromSnapshot) }

func restartFromSnapshot(t *testing.T) {
	k := clustertest.Start(t, 2) // the last entries make the second node a voter
	nodes := k.Running()
	home := place(t, nodes[0], room(1))
	k.Add()
	nodes = k.Running()
	for _, n := range nodes {
		k.Await("the home on "+string(n.ID), func() bool { got, _ := n.Lookup(room(1)); return got == home })
		if err := n.TakeSnapshot(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range k.Followers() {
		n.Kill()
		n.Start()
		n.AwaitReady()
		k.Await("the lease of "+string(n.ID), n.Lease)
		if got, _ := n.Lookup(room(1)); got != home {
			t.Errorf("%s: %+v, before %+v", n.ID, got, home)
		}
	}
}

func TestAllStopAtOnce(t *testing.T) { virtual(t, allStopAtOnce) }

func allStopAtOnce(t *testing.T) {
	k := clustertest.Start(t, 3)
	began := time.Now()
	var wg sync.WaitGroup
	for _, n := range k.Running() {
		wg.Go(func() {
			if err := n.Stop(); err != nil {
				t.Errorf("%s: %v", n.ID, err)
			}
		})
	}
	wg.Wait()
	t.Logf("stopped after %s", time.Since(began).Round(time.Millisecond))
}

func TestCloseWithoutRun(t *testing.T) {
	t.Parallel()
	state, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	config := cluster.Config{
		DataDir: t.TempDir(), NodeID: "n1", ClusterListen: "127.0.0.1:0", GossipListen: "127.0.0.1:0",
		PublicURL: "http://n1.example", Version: "test",
	}
	for range 2 { // the second time on the same ports
		c, err := cluster.Open(config, cluster.Deps{State: state, Logger: discard(), Registerer: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		config.ClusterListen, config.GossipListen = c.Addr()
		if c.Lease() || len(c.Members()) != 0 || c.Status().Ready {
			t.Errorf("before Run: %+v", c.Status())
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := c.Place(short, room(1), cluster.Hint{}); !errors.Is(err, cluster.ErrNotReady) {
			t.Errorf("placing before Run: %v", err)
		}
		cancel()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}
