package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// agree waits until all running nodes know the same home of a room.
func agree(k *clustertest.Kit, r store.RoomID, home store.Home) {
	for _, n := range k.Running() {
		k.Await("the home on "+string(n.ID), func() bool { got, _ := n.Lookup(r); return got == home })
	}
}

// A node without Raft does all that the others do, but decide.
func TestClients(t *testing.T) {
	t.Parallel()
	k := clustertest.Start(t, 3)
	before := place(t, k.Node(0), room(0))
	clients := []*clustertest.Node{k.AddClient(), k.AddClient()}
	c := clients[0]
	leader := k.AwaitLeader()

	t.Run("is a member", func(t *testing.T) {
		for _, n := range k.Running() {
			k.Await("members on "+string(n.ID), func() bool {
				members := n.Members()
				for _, m := range members {
					want := cluster.RaftVoter
					if !m.Server() {
						want = cluster.RaftClient
					}
					if m.State != cluster.StateAlive || m.Raft != want || m.Leader != (m.ID == leader.ID) {
						return false
					}
				}
				return len(members) == 5
			})
			k.Await("the lease of "+string(n.ID), n.Lease)
		}
		k.Await("the status", func() bool {
			s := c.Status()
			return s.Leader == leader.ID && s.Ready && s.Quorum && s.Voters == 3 && s.Alive == 3 && s.Rooms == 1 &&
				s.Term == leader.Status().Term && s.Commit > 0 && s.ClusterID == leader.Status().ClusterID
		})
	})
	t.Run("has no log, no database and no key of the CA", func(t *testing.T) {
		for _, name := range []string{"raft.db", "snapshots", "cluster.key"} {
			if _, err := os.Stat(filepath.Join(c.Config.DataDir, name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("knows what was decided before", func(t *testing.T) {
		if got, ok := c.Lookup(room(0)); !ok || got != before {
			t.Errorf("home %+v, want %+v", got, before)
		}
	})
	t.Run("decides through the leader", func(t *testing.T) {
		events, cancel := c.Watch()
		defer cancel()
		home := place(t, c, room(1))
		agree(k, room(1), home)
		next := func(kind store.EventKind) (e store.Event) {
			for e.Kind != kind {
				select {
				case e = <-events:
				case <-within(t).Done():
					t.Fatalf("no event %s", kind)
				}
			}
			return e
		}
		if e := next(store.EventHomeAssigned); e.Room != room(1) || e.Home != home || e.Index == 0 {
			t.Errorf("event %+v", e)
		}
		if _, err := c.Propose(within(t), store.NewReleaseRoom(time.Now(), room(1), home.Epoch+1)); !errors.Is(err, store.ErrStaleEpoch) {
			t.Errorf("a refused command: %v", err)
		}
		user := store.User{ID: "alice", DisplayName: "Alice", PasswordHash: "h"}
		if _, err := c.Propose(within(t), store.NewCreateUser(time.Now(), user)); err != nil {
			t.Errorf("a command about the database: %v", err)
		}
		if e := next(store.EventUserPut); e.User != "alice" {
			t.Errorf("event %+v", e)
		}
	})
	t.Run("seals and opens", func(t *testing.T) {
		sealed := c.Sealer("resume").Seal([]byte("text"))
		for _, n := range k.Running() {
			if plain, err := n.Sealer("resume").Open(sealed); err != nil || string(plain) != "text" {
				t.Errorf("%s opened %q: %v", n.ID, plain, err)
			}
		}
	})
	t.Run("is a home", func(t *testing.T) {
		home := assign(t, k, room(2), c.ID)
		oneHome(t, k, room(2))
		if !c.Lease() {
			t.Error("no lease")
		}
		c.Kill()
		now := awaitMoved(t, k, room(2), home, k.Running()...)
		c.Start()
		c.AwaitReady()
		if got, _ := c.Lookup(room(2)); got != now {
			t.Errorf("after the restart %+v, want %+v", got, now)
		}
		k.Await("the lease", c.Lease)
	})
	t.Run("lets nobody in", func(t *testing.T) {
		n := k.Prepare()
		addr, _ := c.Addr()
		n.Config.Join = []string{addr}
		n.Start()
		if err := n.Wait(); !errors.Is(err, cluster.ErrNoServer) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Run("stays what it is", func(t *testing.T) {
		if err := c.Stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		c.Config.Roles = nil
		if err := c.TryStart(); !errors.Is(err, cluster.ErrIdentity) {
			t.Errorf("as a server: %v", err)
		}
		s := k.Followers()[0]
		if err := s.Stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
		s.Config.Roles = []string{"media"}
		if err := s.TryStart(); !errors.Is(err, cluster.ErrIdentity) {
			t.Errorf("a server without the role: %v", err)
		}
	})
}

// Nobody begins a cluster without Raft.
func TestClientNeedsServers(t *testing.T) { virtual(t, clientNeedsServers) }

func clientNeedsServers(t *testing.T) {
	k := clustertest.New(t)
	n := k.Prepare()
	n.Config.Roles = []string{"media"}
	if err := n.TryStart(); !errors.Is(err, cluster.ErrConfig) {
		t.Errorf("%v", err)
	}
}

// A client goes on when the server that it follows dies, hangs or is cut off,
// and sees every decision once and in order.
func TestClientChangesServers(t *testing.T) { virtual(t, clientChangesServers) }

func clientChangesServers(t *testing.T) {
	k := clustertest.Start(t, 3)
	c := k.AddClient()
	settledAll(k)
	events, cancel := c.Watch()
	defer cancel()
	var wg sync.WaitGroup
	var seen []uint64
	restored := false
	done := make(chan struct{})
	wg.Go(func() {
		var last uint64
		for {
			select {
			case <-done:
				return
			case e, ok := <-events:
				if !ok {
					return // the test has failed
				}
				if e.Index < last {
					t.Errorf("event of %d after %d", e.Index, last)
				}
				last = e.Index
				switch e.Kind {
				case store.EventHomeAssigned:
					seen = append(seen, e.Home.Epoch)
				case store.EventRestored, store.EventLagged:
					restored = true
				}
			}
		}
	})
	placed := 0
	placeSome := func() {
		for range 10 {
			placed++
			agree(k, room(placed), place(t, c, room(placed)))
		}
	}
	placeSome()
	for round, harm := range []func(*clustertest.Node){
		(*clustertest.Node).Kill,
		func(n *clustertest.Node) { k.Net.Cut(n.ID, c.ID) },
		func(n *clustertest.Node) { k.Net.Isolate(n.ID) },
	} {
		followed := k.ByID(c.Status().Follows)
		t.Logf("round %d: away goes %s, leader %s", round, followed.ID, k.AwaitLeader().ID)
		began := time.Now()
		harm(followed)
		k.Await("another server", func() bool { id := c.Status().Follows; return id != "" && id != followed.ID })
		t.Logf("another one after %s", time.Since(began).Round(time.Millisecond))
		if round == 0 {
			k.AwaitLeader(k.Servers()...)
			placeSome()
			followed.Start()
			followed.AwaitReady()
		}
		k.Net.Heal()
		settledAll(k)
		placeSome()
	}
	close(done)
	wg.Wait()
	// Rooms that were placed anew count too.
	if restored || len(seen) < placed {
		t.Errorf("%d assignments seen of %d, started over: %t", len(seen), placed, restored)
	}
	for i, epoch := range seen {
		if epoch != uint64(i+1) {
			t.Fatalf("epochs seen: %v", seen)
		}
	}
}

// A client that was away for longer than servers remember is sent everything.
func TestClientStartsOver(t *testing.T) { virtual(t, clientStartsOver) }

func clientStartsOver(t *testing.T) {
	k := clustertest.Start(t, 1)
	c := k.AddClient()
	s := k.Node(0)
	k.Await("the leases", func() bool { return c.Lease() && s.Lease() })
	k.Net.Isolate(c.ID)
	k.Await("the client to notice", func() bool { return c.Status().Follows == "" && c.Status().Leader == "" })
	const atOnce = 64
	long := func(i int) store.RoomID {
		return store.RoomID{Name: fmt.Sprint(i, strings.Repeat("x", store.MaxRoomName-10))}
	}
	batches := cluster.FeedBytes / atOnce / store.MaxRoomName
	var last store.Home
	for i := range batches {
		var batch []store.Assignment
		for j := range atOnce {
			batch = append(batch, store.Assignment{Room: long(atOnce*i + j), Node: s.ID, Reason: store.ReasonNew})
		}
		r, err := s.Propose(within(t), store.NewAssignHomes(time.Now(), batch))
		if err != nil {
			t.Fatal(err)
		}
		last = r.Homes[atOnce-1].Home
	}
	events, cancel := c.Watch()
	defer cancel()
	k.Net.Heal()
	k.Await("all rooms", func() bool { return c.Status().Rooms == s.Status().Rooms })
	if got, _ := c.Lookup(long(atOnce*batches - 1)); got != last {
		t.Errorf("last home %+v, want %+v", got, last)
	}
	if e := <-events; e.Kind != store.EventRestored {
		t.Errorf("first event %+v", e)
	}
	k.Await("the lease", c.Lease)
}

// While no server can be reached, a client knows what it knew.
func TestClientWithoutServers(t *testing.T) { virtual(t, clientWithoutServers) }

func clientWithoutServers(t *testing.T) {
	k := clustertest.Start(t, 3)
	c := k.AddClient()
	home := place(t, c, room(1))
	for _, s := range k.Servers() {
		s.Kill()
	}
	k.Await("no lease", func() bool { return !c.Lease() })
	if got, ok := c.Lookup(room(1)); !ok || got != home {
		t.Errorf("home %+v, want %+v", got, home)
	}
	if c.Sealer("x").Seal(nil) == "" {
		t.Error("nothing to seal with")
	}
	for i := range 3 {
		k.Node(i).Start()
	}
	k.Await("the lease", c.Lease)
	agree(k, room(1), home)
	place(t, c, room(2))
}

// A client that was removed stops.
func TestRemovedClientStops(t *testing.T) { virtual(t, removedClientStops) }

func removedClientStops(t *testing.T) {
	k := clustertest.Start(t, 1)
	c := k.AddClient()
	if err := k.Node(0).Remove(within(t), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run: %v", err)
	}
}

func settledAll(k *clustertest.Kit) {
	for _, n := range k.Running() {
		k.Await("everything on "+string(n.ID), func() bool {
			servers, voters := 0, 0
			for _, m := range n.Members() {
				if m.State != cluster.StateAlive {
					return false
				}
				if m.Server() {
					servers++
				}
				if m.Raft == cluster.RaftVoter {
					voters++
				}
			}
			return n.Lease() && voters == votersOf(servers)
		})
	}
}
