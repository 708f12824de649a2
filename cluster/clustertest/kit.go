// Package clustertest runs the nodes of a cluster in one process, over a network
// in memory whose links can be cut, held, slow and lossy.
//
//	Kit ── Node ── cluster.Cluster ── Host (connections, packets)
//	  └─ Network: carries all that nodes send each other, or not
//
// Each running node has a goroutine in Run; Kit's cleanup waits for all. Nothing
// in it waits for a socket, so that a whole cluster runs in a bubble of
// testing/synctest: Virtual is how. A minute of a cluster takes half a second
// there, and a busy machine changes nothing.
package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// Patience is how long the kit waits for anything. On a starved machine an
// election alone may take many seconds.
const Patience = time.Minute

// Kit is a cluster of nodes n1, n2, ….
type Kit struct {
	Net *Network
	tb  testing.TB
	dir string
	log *tail

	mu    sync.Mutex // guards nodes
	nodes []*Node
}

// Virtual runs a test in virtual time. It may use no subtests and not be
// parallel; the test that calls it may.
func Virtual(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// The bubble's time ends with the test. A probe of memberlist waits for a
		// timer that is longer.
		t.Cleanup(func() { time.Sleep(probeEnds) })
		f(t)
	})
}

// probeEnds is more than eight probe intervals, the longest for a node that
// found its machine slow.
const probeEnds = 10 * time.Second

// New makes a kit without nodes.
func New(tb testing.TB) *Kit {
	tb.Helper()
	// The directory first: it must be removed after the nodes have ended.
	k := &Kit{tb: tb, dir: directory(tb), Net: newNetwork(), log: new(tail)}
	tb.Cleanup(k.close)
	return k
}

// directory is where the nodes' data lie: in memory if the machine has that.
// Nothing is read after a loss of power, and a busy disk would take most of the
// time of a test. A benchmark gets the disk.
func directory(tb testing.TB) string {
	tb.Helper()
	if _, measuring := tb.(*testing.B); measuring {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "talkd-clustertest-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("removing the nodes' data: %v", err)
		}
	})
	return dir
}

// Start makes a kit of n nodes and waits until all are ready.
func Start(tb testing.TB, n int) *Kit {
	tb.Helper()
	k := New(tb)
	for range n {
		k.Add()
	}
	return k
}

// Prepare adds a node without starting it. The first one makes the cluster,
// the others join with a token of the first node that runs.
func (k *Kit) Prepare() *Node {
	k.tb.Helper()
	k.mu.Lock()
	id := store.NodeID(fmt.Sprintf("n%d", len(k.nodes)+1))
	k.mu.Unlock()
	n := &Node{ID: id, kit: k, Config: cluster.Config{
		DataDir: filepath.Join(k.dir, string(id), "cluster"), NodeID: id,
		ClusterListen: "127.0.0.1:0", GossipListen: "127.0.0.1:0",
		PublicURL: "http://" + string(id) + ".example", Version: "test",
	}}
	for _, other := range k.Servers() {
		addr, _ := other.Addr()
		n.Config.Join = append(n.Config.Join, addr)
	}
	if len(n.Config.Join) > 0 {
		n.Config.JoinToken = k.Token()
	}
	k.mu.Lock()
	k.nodes = append(k.nodes, n)
	k.mu.Unlock()
	return n
}

// Add adds a node, starts it and waits until it is ready.
func (k *Kit) Add() *Node {
	k.tb.Helper()
	n := k.Prepare()
	n.Start()
	n.AwaitReady()
	return n
}

// AddClient adds a node without the role server, starts it and waits until it
// is ready.
func (k *Kit) AddClient() *Node {
	k.tb.Helper()
	n := k.Prepare()
	n.Config.Roles = []string{"signaling", "media"}
	n.Start()
	n.AwaitReady()
	return n
}

// Token makes a join token on the first server that runs.
func (k *Kit) Token() string {
	k.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	token, err := k.Servers()[0].CreateJoinToken(ctx, 0)
	if err != nil {
		k.tb.Fatalf("join token: %v", err)
	}
	return token
}

// Node is the i-th node, from 0.
func (k *Kit) Node(i int) *Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.nodes[i]
}

// ByID is the node of that id.
func (k *Kit) ByID(id store.NodeID) *Node {
	k.tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.nodes {
		if n.ID == id {
			return n
		}
	}
	k.tb.Fatalf("no node %q", id)
	return nil
}

// Running are the nodes that were started and neither stopped nor killed.
func (k *Kit) Running() []*Node {
	k.mu.Lock()
	defer k.mu.Unlock()
	var running []*Node
	for _, n := range k.nodes {
		if n.cancel != nil {
			running = append(running, n)
		}
	}
	return running
}

// Servers are the running nodes that hold the replicated state.
func (k *Kit) Servers() []*Node {
	return slices.DeleteFunc(k.Running(), func(n *Node) bool { return !n.Server() })
}

// AwaitLeader waits until all of these nodes (none: all that run) know one
// leader among themselves.
func (k *Kit) AwaitLeader(among ...*Node) *Node {
	k.tb.Helper()
	if len(among) == 0 {
		among = k.Running()
	}
	var leader *Node
	k.Await("a leader", func() bool {
		leader = nil
		for _, n := range among {
			if n.Status().Leader == n.ID {
				leader = n
			}
		}
		for _, n := range among {
			if leader == nil || n.Status().Leader != leader.ID {
				return false
			}
		}
		return true
	})
	return leader
}

// Followers are the running servers but the leader.
func (k *Kit) Followers() []*Node {
	k.tb.Helper()
	leader := k.AwaitLeader()
	var followers []*Node
	for _, n := range k.Servers() {
		if n != leader {
			followers = append(followers, n)
		}
	}
	return followers
}

// Await waits until the condition holds.
func (k *Kit) Await(what string, holds func() bool) {
	k.tb.Helper()
	deadline := time.Now().Add(Patience)
	for !holds() {
		if time.Now().After(deadline) {
			k.tb.Fatalf("waited %s in vain for %s", Patience, what)
		}
		time.Sleep(5 * time.Millisecond) // polling: not all that is awaited has an event
	}
}

func (k *Kit) close() {
	k.mu.Lock()
	nodes := k.nodes
	k.mu.Unlock()
	// All go at the same time: nobody waits for one that is gone already.
	for _, n := range nodes {
		n.Kill()
	}
	for _, n := range nodes {
		n.await()
	}
	if k.tb.Failed() {
		k.tb.Logf("the end of the nodes' logs:\n%s", k.log)
	}
}
