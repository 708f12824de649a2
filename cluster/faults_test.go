package cluster_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// settled waits until nothing is in the way of a placement.
func settled(k *clustertest.Kit) {
	for _, n := range k.Running() {
		k.Await("everything on "+string(n.ID), func() bool {
			if !n.Lease() {
				return false
			}
			voters, servers := 0, 0
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
			return voters == votersOf(servers)
		})
	}
}

// votersOf is how many of so many servers vote when all is well.
func votersOf(servers int) int {
	if n := min(servers, 5); n == 2 || n%2 == 1 {
		return n
	}
	return min(servers, 5) - 1
}

// assign gives a room to a node, whatever placement would say.
func assign(t *testing.T, k *clustertest.Kit, r store.RoomID, to store.NodeID) store.Home {
	t.Helper()
	old, _ := k.AwaitLeader().Lookup(r)
	result, err := k.AwaitLeader().Propose(within(t), store.NewAssignHome(time.Now(), r, to, old.Epoch, store.ReasonMove))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range k.Running() {
		k.Await("the home on "+string(n.ID), func() bool {
			home, ok := n.Lookup(r)
			return ok && home == result.Home
		})
	}
	return result.Home
}

// awaitMoved waits until these nodes agree on a later home among themselves.
func awaitMoved(t *testing.T, k *clustertest.Kit, r store.RoomID, before store.Home, among ...*clustertest.Node) store.Home {
	t.Helper()
	var home store.Home
	k.Await("a new home of "+r.String(), func() bool {
		home, _ = among[0].Lookup(r)
		fits := false
		for _, n := range among {
			if got, _ := n.Lookup(r); got != home {
				return false
			}
			fits = fits || n.ID == home.Node
		}
		return fits && home.Epoch > before.Epoch
	})
	return home
}

// oneHome samples until the test ends that no two nodes act as the home of a
// room at the same time.
func oneHome(t *testing.T, k *clustertest.Kit, rooms ...store.RoomID) {
	t.Helper()
	var nodes []*cluster.Cluster // those that run now; a restarted one is another
	for _, n := range k.Running() {
		nodes = append(nodes, n.Cluster)
	}
	acts := func(n *cluster.Cluster, r store.RoomID) uint64 {
		home, ok := n.Lookup(r)
		if !ok || home.Node != n.Self() || !n.Lease() {
			return 0
		}
		return home.Epoch
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	samples := 0
	wg.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			samples++
			for _, r := range rooms {
				for i, a := range nodes {
					first := acts(a, r)
					if first == 0 {
						continue
					}
					for _, b := range nodes[i+1:] {
						// b acts between two moments at which a does.
						if second := acts(b, r); second != 0 && acts(a, r) == first {
							t.Errorf("%s has two homes: %s at epoch %d and %s at epoch %d", r, a.Self(), first, b.Self(), second)
							return
						}
					}
				}
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
		t.Logf("%d samples", samples)
	})
}

func TestKilledHomeIsReplaced(t *testing.T) { virtual(t, killedHomeIsReplaced) }

func killedHomeIsReplaced(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	home := assign(t, k, room(1), followers[0].ID)
	other := assign(t, k, room(2), leader.ID)
	oneHome(t, k, room(1), room(2))

	killed := time.Now()
	followers[0].Kill()
	now := awaitMoved(t, k, room(1), home, leader, followers[1])
	took := time.Since(killed)
	t.Logf("placed anew after %s", took.Round(time.Millisecond))
	// The last renewal may be a whole leaseRenew old at the kill.
	if took < cluster.PlacementAnew-cluster.LeaseRenew {
		t.Error("placed anew while the lease of the old home could hold")
	}
	if took > 3*cluster.PlacementAnew {
		t.Errorf("placed anew after %s", took)
	}
	if !now.Created.Equal(home.Created) {
		t.Errorf("created %s, was %s", now.Created, home.Created)
	}
	if got, _ := leader.Lookup(room(2)); got != other {
		t.Errorf("a room of a living node moved: %+v, was %+v", got, other)
	}
	if state(leader, followers[0].ID) != cluster.StateDead {
		t.Error("the killed node is not dead")
	}

	// It comes back with nothing but its directory, and is no home.
	followers[0].Start()
	followers[0].AwaitReady()
	if got, _ := followers[0].Lookup(room(1)); got != now {
		t.Errorf("after the restart %+v, elsewhere %+v", got, now)
	}
}

func TestKilledLeaderIsReplaced(t *testing.T) { virtual(t, killedLeaderIsReplaced) }

func killedLeaderIsReplaced(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	home := assign(t, k, room(1), leader.ID)
	oneHome(t, k, room(1))

	killed := time.Now()
	leader.Kill()
	elected := k.AwaitLeader(followers...)
	t.Logf("elected after %s", time.Since(killed).Round(time.Millisecond))
	if _, err := elected.Place(within(t), room(2), cluster.Hint{}); err != nil {
		t.Errorf("a new room: %v", err)
	}
	awaitMoved(t, k, room(1), home, followers...)
	t.Logf("placed anew after %s", time.Since(killed).Round(time.Millisecond))
}

func TestPreferredNodesBecomeHomes(t *testing.T) { virtual(t, preferredNodesBecomeHomes) }

func preferredNodesBecomeHomes(t *testing.T) {
	k := clustertest.New(t)
	for range 4 {
		n := k.Prepare()
		n.Config.Prefer = func(r store.RoomID) []store.NodeID {
			return []store.NodeID{"n9", store.NodeID(r.Name)} // the room is named after the node
		}
		n.Start()
		n.AwaitReady()
	}
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	var homes []store.Home
	var rooms []store.RoomID
	for _, n := range k.Running() {
		if n != followers[0] {
			r := store.RoomID{Name: string(n.ID)}
			rooms = append(rooms, r)
			homes = append(homes, assign(t, k, r, followers[0].ID))
		}
	}
	followers[0].Kill()
	for i, r := range rooms {
		if now := awaitMoved(t, k, r, homes[i], leader, followers[1], followers[2]); string(now.Node) != r.Name {
			t.Errorf("room of %s placed on %s", r.Name, now.Node)
		}
	}
}

// Gossip may say that a home is dead as long as it likes: the room stays while
// the home has its lease, and moves only when that has run out.
func TestGossipDoesNotDecide(t *testing.T) { virtual(t, gossipDecidesNothing) }

func gossipDecidesNothing(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	home := assign(t, k, room(1), followers[0].ID)
	oneHome(t, k, room(1))

	k.Net.CutGossip(followers[0].ID)
	k.Await("gossip to bury it", func() bool { return state(leader, followers[0].ID) == cluster.StateDead })
	// Longer than placing anew would take, were it not for the lease.
	for until := time.Now().Add(cluster.PlacementAnew + time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) { // polling
		if led := leader.Status().Leader; led != leader.ID {
			t.Fatalf("without gossip %q leads, who counts leases anew", led)
		}
		if now, _ := leader.Lookup(room(1)); now != home {
			t.Fatalf("the room of a home with a lease moved: %+v", now)
		}
	}
	cut := time.Now()
	k.Net.Isolate(followers[0].ID)
	awaitMoved(t, k, room(1), home, leader, followers[1])
	if took := time.Since(cut); took < cluster.PlacementAnew-cluster.LeaseRenew {
		t.Errorf("placed anew %s after the last renewal could have come", took)
	}
}

// A minority, of a cluster large enough to have one of two: it decides nothing,
// and says so, with what is missing, when an election should have been over; the
// majority goes on. Nobody waits for what cannot come.
func TestMinority(t *testing.T) { virtual(t, minority) }

func minority(t *testing.T) {
	k := clustertest.Start(t, 5)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	minority, majority := []*clustertest.Node{leader, followers[0]}, followers[1:]
	home := assign(t, k, room(1), leader.ID)
	kept := assign(t, k, room(2), followers[1].ID)
	oneHome(t, k, room(1), room(2))
	for _, a := range minority {
		for _, b := range majority {
			k.Net.Cut(a.ID, b.ID)
		}
	}
	elected := k.AwaitLeader(majority...)
	if _, err := elected.Place(within(t), room(3), cluster.Hint{}); err != nil {
		t.Errorf("the majority places no room: %v", err)
	}
	awaitMoved(t, k, room(1), home, majority...)
	for _, n := range minority {
		k.Await("the minority to know", func() bool { return !n.Lease() && n.Status().Leader == "" })
		var err error
		k.Await("a clear word of "+string(n.ID), func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = n.Place(ctx, room(4), cluster.Hint{})
			return errors.Is(err, cluster.ErrNoQuorum) && strings.Contains(err.Error(), "3 of 5 voters are missing")
		})
		if !errors.Is(err, cluster.ErrNoLeader) {
			t.Errorf("%s: %v", n.ID, err)
		}
		began := time.Now()
		if _, err := n.Propose(within(t), store.NewReleaseRoom(began, room(1), home.Epoch)); !errors.Is(err, cluster.ErrNoQuorum) {
			t.Errorf("%s proposes: %v", n.ID, err)
		}
		if err := n.Remove(within(t), followers[1].ID); !errors.Is(err, cluster.ErrNoQuorum) {
			t.Errorf("%s removes: %v", n.ID, err)
		}
		if took := time.Since(began); took > clustertest.Patience/4 {
			t.Errorf("that took %s", took)
		}
		if got, ok := n.Lookup(room(2)); !ok || got != kept {
			t.Errorf("%s forgot where a room is: %+v", n.ID, got)
		}
	}
	k.Net.Heal()
	settled(k)
	for _, n := range minority {
		if _, err := n.Place(within(t), room(4), cluster.Hint{}); err != nil {
			t.Errorf("%s after the cut: %v", n.ID, err)
		}
	}
}

// Without a majority what runs goes on, new decisions are refused, and all is
// well as soon as one voter is back.
func TestQuorumLost(t *testing.T) { virtual(t, quorumLost) }

func quorumLost(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	home := assign(t, k, room(1), leader.ID)
	oneHome(t, k, room(1))
	for _, n := range followers {
		n.Kill()
	}
	k.Await("the leader to step down", func() bool { return leader.Status().Leader == "" && !leader.Lease() })
	var err error
	k.Await("a clear word", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = leader.Place(ctx, room(2), cluster.Hint{})
		return errors.Is(err, cluster.ErrNoQuorum) && strings.Contains(err.Error(), "2 of 3 voters are missing")
	})
	t.Log(err)
	if got, ok := leader.Lookup(room(1)); !ok || got != home {
		t.Errorf("the room is %+v", got)
	}
	if s := leader.Status(); s.Quorum || s.Healthy || s.Tolerance != 0 {
		t.Errorf("status %+v", s)
	}
	followers[0].Start()
	followers[0].AwaitReady()
	if _, err := leader.Place(within(t), room(2), cluster.Hint{}); err != nil {
		t.Errorf("with a majority again: %v", err)
	}
}

// The leader is cut from one follower only, which sees the other: nobody is
// elected over the head of those two, and a home that gossip sees and that cannot
// reach the leader is replaced before long.
func TestOneLinkOfTheLeader(t *testing.T) { virtual(t, oneLinkOfTheLeader) }

func oneLinkOfTheLeader(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	home := assign(t, k, room(1), followers[0].ID)
	oneHome(t, k, room(1))
	term, cut := leader.Status().Term, time.Now()
	k.Net.Cut(leader.ID, followers[0].ID)
	now := awaitMoved(t, k, room(1), home, leader, followers[1])
	took := time.Since(cut)
	t.Logf("placed anew on %s after %s", now.Node, took.Round(time.Millisecond))
	if took < cluster.PlacementAnew-cluster.LeaseRenew {
		t.Error("placed anew while the lease of the old home could hold")
	}
	if s := leader.Status(); s.Leader == leader.ID && s.Term != term {
		t.Errorf("term %d, was %d", s.Term, term)
	}
	k.Net.Heal()
	settled(k)
	place(t, followers[0], room(2))
}
