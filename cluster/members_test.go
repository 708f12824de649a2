package cluster_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

func member(on *clustertest.Node, id store.NodeID) (cluster.Member, bool) {
	for _, m := range on.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// votes waits until exactly these nodes vote.
func votes(k *clustertest.Kit, on *clustertest.Node, want ...store.NodeID) {
	k.Await(fmt.Sprintf("%v to vote", want), func() bool {
		voters := make(map[store.NodeID]bool)
		for _, m := range on.Members() {
			if m.Raft == cluster.RaftVoter {
				voters[m.ID] = true
			}
		}
		for _, id := range want {
			if !voters[id] {
				return false
			}
		}
		return len(voters) == len(want) && on.Status().Voters == len(want)
	})
}

func TestGrowing(t *testing.T) { virtual(t, growing) }

func growing(t *testing.T) {
	k := clustertest.New(t)
	began := time.Now()
	for n, want := range []int{1, 2, 3, 3, 5, 5} {
		k.Add()
		first := k.Node(0)
		k.Await("the voters", func() bool { return first.Status().Voters == want })
		t.Logf("%d nodes, %d voters after %s", n+1, want, time.Since(began).Round(time.Millisecond))
		k.Await("health", func() bool {
			s := first.Status()
			return s.Healthy && s.Tolerance == (want-1)/2 && s.Alive == want
		})
	}
	for _, n := range k.Running() {
		k.Await("the leader's word on "+string(n.ID), func() bool { return n.Status().Healthy && n.Status().Tolerance == 2 })
	}
}

func TestSpareTakesOver(t *testing.T) { virtual(t, spareTakesOver) }

func spareTakesOver(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	k.Add() // the votes are given
	settled(k)
	leader := k.AwaitLeader()
	spare, failing := k.Node(3), k.Node(1)
	if failing == leader {
		failing = k.Node(2)
	}
	votes(k, leader, "n1", "n2", "n3")

	killed := time.Now()
	failing.Kill()
	k.Await("the spare to vote", func() bool { m, _ := member(leader, spare.ID); return m.Raft == cluster.RaftVoter })
	t.Logf("the spare votes %s after the kill", time.Since(killed).Round(time.Millisecond))
	k.Await("the silent one to be out", func() bool {
		s := leader.Status()
		return s.Voters == 3 && s.Alive == 3 && s.Healthy && s.Tolerance == 1
	})
	if m, ok := member(leader, failing.ID); !ok || m.State != cluster.StateDead || m.Raft != cluster.RaftNonvoter {
		t.Errorf("the failed node is %+v, %t", m, ok)
	}

	// It comes back with the same command line, as the spare, and catches up.
	home := place(t, leader, room(1))
	failing.Start()
	failing.AwaitReady()
	k.Await("it to catch up", func() bool { got, _ := failing.Lookup(room(1)); return got == home && failing.Lease() })
	if m, _ := member(leader, failing.ID); m.Raft != cluster.RaftNonvoter {
		t.Errorf("the node that came back is a %s", m.Raft)
	}
	other := k.Node(2)
	if failing == other || leader == other {
		other = spare
	}
	other.Kill()
	k.Await("it to vote again", func() bool { m, _ := member(leader, failing.ID); return m.Raft == cluster.RaftVoter })
}

// Without a spare a voter that has failed keeps its vote: three with one silent
// are no worse than two.
func TestNoSpare(t *testing.T) { virtual(t, noSpare) }

func noSpare(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, gone := k.AwaitLeader(), k.Followers()[0]
	gone.Kill()
	k.Await("its failure to be noticed", func() bool { s := leader.Status(); return !s.Healthy && s.Tolerance == 0 })
	for until := time.Now().Add(2*cluster.ServerFailed - time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) { // polling
		if s := leader.Status(); s.Voters != 3 {
			t.Fatalf("%d voters", s.Voters)
		}
	}
	gone.Start()
	gone.AwaitReady()
	k.Await("all to be well", func() bool { s := leader.Status(); return s.Healthy && s.Tolerance == 1 })
}

func TestRegions(t *testing.T) { virtual(t, regions) }

func regions(t *testing.T) {
	k := clustertest.New(t)
	for _, region := range []string{"eu", "eu", "eu", "us"} {
		n := k.Prepare()
		n.Config.Region, n.Config.Voters = region, 3
		n.Start()
		n.AwaitReady()
	}
	k.Await("one of two regions", func() bool { m, _ := member(k.AwaitLeader(), "n4"); return m.Raft == cluster.RaftVoter })
	k.Await("three voters", func() bool { return k.AwaitLeader().Status().Voters == 3 })
}

func TestRemove(t *testing.T) { virtual(t, remove) }

func remove(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	if err := leader.Remove(within(t), "n9"); !errors.Is(err, store.ErrNoSuchNode) {
		t.Errorf("a node that never was: %v", err)
	}

	// A node leaves: it removes itself.
	gone, stays := followers[0], followers[1]
	if err := gone.Remove(within(t), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := gone.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run: %v", err)
	}
	votes(k, leader, leader.ID, stays.ID)
	if err := stays.Remove(within(t), gone.ID); err != nil {
		t.Errorf("the second time: %v", err)
	}
	k.Await("it to be forgotten", func() bool { _, ok := member(stays, gone.ID); return !ok })

	// Its certificate opens nothing any more.
	for _, n := range []*clustertest.Node{leader, stays} {
		if err := knock(t, k, gone, n, rpc.ProtoRaft); !errors.Is(err, io.EOF) {
			t.Errorf("Raft's port of %s: %v", n.ID, err)
		}
	}

	// Its id is free for a machine with nothing but a new token.
	again := k.Prepare()
	again.Config.NodeID = gone.ID
	again.Start()
	again.AwaitReady()
	votes(k, leader, "n1", "n2", "n3")

	// The old one is told, although there is a node of its name.
	gone.Start()
	if err := gone.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run, started again: %v", err)
	}

	// The leader may go as any other.
	if err := stays.Remove(within(t), leader.ID); err != nil {
		t.Fatal(err)
	}
	if err := leader.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run of the leader: %v", err)
	}
	if err := stays.Remove(within(t), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); !errors.Is(err, cluster.ErrRemoved) {
		t.Errorf("Run of the second node of that name: %v", err)
	}
	if err := stays.Remove(within(t), stays.ID); !errors.Is(err, cluster.ErrRemoveRefused) {
		t.Errorf("the last server: %v", err)
	} else {
		t.Log(err)
	}
	place(t, stays, room(1))
}

// knock connects with the certificate that a node has on disk, and tells how
// the other end answers.
func knock(t *testing.T, k *clustertest.Kit, as, at *clustertest.Node, proto string) error {
	t.Helper()
	file := func(name string) string { return filepath.Join(as.Config.DataDir, name) }
	cert, err := tls.LoadX509KeyPair(file("node.crt"), file("node.key"))
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := at.Addr()
	raw, err := k.Net.Host("stranger").DialContext(within(t), "tcp", addr)
	if err != nil {
		return err
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{proto}, Certificates: []tls.Certificate{cert},
	})
	if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

func TestRemovalThatWouldCostTheMajority(t *testing.T) { virtual(t, removalThatWouldCostTheMajority) }

func removalThatWouldCostTheMajority(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, followers := k.AwaitLeader(), k.Followers()
	if err := knock(t, k, followers[0], leader, rpc.ProtoRaft); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a member at Raft's port: %v", err)
	}
	followers[0].Kill()
	k.Await("it to be silent", func() bool { return !leader.Status().Healthy })
	for _, n := range []store.NodeID{leader.ID, followers[1].ID} {
		if err := leader.Remove(within(t), n); !errors.Is(err, cluster.ErrRemoveRefused) {
			t.Errorf("%s: %v", n, err)
		} else {
			t.Log(err)
		}
	}
	place(t, followers[1], room(1))
	if err := followers[1].Remove(within(t), followers[0].ID); err != nil {
		t.Errorf("the dead one: %v", err)
	}
	votes(k, leader, leader.ID, followers[1].ID)
	if err := leader.Remove(within(t), followers[1].ID); err != nil {
		t.Errorf("now it may go: %v", err)
	}
	votes(k, leader, leader.ID)
}

// A node that was let in and never came does not hold its id for ever.
func TestGhosts(t *testing.T) { virtual(t, ghosts) }

func ghosts(t *testing.T) {
	k := clustertest.Start(t, 1)
	n1, n2 := k.Node(0), k.Prepare()
	recorded := func() bool { _, ok := n1.State.Node(n2.ID); return ok }
	k.Net.CutOnce(n1.ID, n2.ID, recorded)
	n2.Start()
	k.Await("the record of the joining node", recorded)
	n2.Kill()
	k.Net.Heal()
	// Its token has expired by now, but it is the same machine.
	n2.Config.JoinToken = k.Token()
	n2.Start()
	n2.AwaitReady()

	ghost, _ := n1.State.Node(n2.ID)
	ghost.ID, ghost.Key, ghost.Pending = "n3", store.HashKey([]byte("lost")), true
	for name, c := range map[string]struct {
		id   store.NodeID
		ago  time.Duration
		want error
	}{
		"it may yet come": {"n3", 0, cluster.ErrNodeExists},
		"it was given up": {"n4", 2 * cluster.JoinGhost, nil},
	} {
		ghost.ID = c.id
		if _, err := n1.Propose(within(t), store.NewPutNode(time.Now().Add(-c.ago), ghost)); err != nil {
			t.Fatal(err)
		}
		n := k.Prepare()
		n.Config.NodeID = c.id
		n.Start()
		if c.want != nil {
			if err := n.Wait(); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		n.AwaitReady()
	}
	votes(k, n1, "n1", "n2", "n4")
}

// A data directory from a backup has forgotten what its node confirmed.
func TestOldDirectory(t *testing.T) { virtual(t, oldDirectory) }

func oldDirectory(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader, n := k.AwaitLeader(), k.Followers()[0]
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(n.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	n.Start()
	n.AwaitReady()
	home := place(t, n, room(1))
	k.Await("the leader to hear of it", func() bool {
		return n.Lease() && n.Status().Commit == leader.Status().Commit && leader.Heard(n.ID) >= n.Status().Commit
	})
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(n.Config.DataDir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(n.Config.DataDir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	n.Start()
	if err := n.Wait(); !errors.Is(err, cluster.ErrRolledBack) {
		t.Errorf("Run: %v", err)
	} else {
		t.Log(err)
	}
	if got, _ := leader.Lookup(room(1)); got != home {
		t.Errorf("home %+v, was %+v", got, home)
	}
}
