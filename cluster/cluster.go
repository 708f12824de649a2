// Package cluster makes nodes act as one: who is there, who decides, and which
// node is the home of a room.
//
//	memberlist ── gossip ── who is alive, draining, how loaded
//	                 │
//	Place, Propose ──┼─ leader? ── raft.Apply ── log on a majority
//	       │         │  no: rpc, one hop            │
//	       │    reconcile: rooms of the dead    fsm: store.State
//	       │    lease: who may act as a home        │
//	       └─────────────── Lookup ◄────────────────┴─► Watch
//
// On a node without the role server there is no Raft: it follows a server
// (mirror.go), and has the same state, log or no log.
//
// Cluster.Run owns all goroutines: the mesh's, Raft's and those that tell what is
// committed (herald.go), memberlist's, and one each for leading (leader.go) or
// following a server (mirror.go), missing the leader (silence.go), renewing the
// lease (lease.go), asking homes before (acts.go), announcing and following
// events (announce.go), keeping keys and certificate (keys.go), and three for
// gossip (peers.go): telling the load, calling the lost, dropping the dead. All
// timeouts are in timeouts.go.
package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/talkd/talkd/cluster/guesses"
	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// Cluster is this node's part in the cluster. It is safe for concurrent use.
type Cluster struct {
	config  Config
	state   *store.View // what is replicated, as this node sees it
	replica replica     // how it gets here
	log     *slog.Logger
	load    func() Load
	network Network
	metrics *metrics

	record    store.Node // of this node, as it announces it
	started   time.Time
	now       func() time.Time // of the wall clock; a test sets it wrong
	boot      int64            // tells this start from others
	logStart  uint64           // where the log ended at this start
	identity  identityRef
	db        *logStore
	mesh      *rpc.Mesh
	gossip    *gossip
	peers     *peerBook
	watchers  *watchers
	feed      *feed // of a server: what it tells those who follow it
	followers *followers
	members   *tickers // changes of members, leader and load
	leaders   *tickers // changes of the leader
	leading   *leadership
	herald    *herald // of a server; nil until raft is there
	hearing   *hearing
	placing   *placements
	removals  removals
	batches   batches
	settling  *settling
	joinLimit *rate.Limiter
	guesses   *guesses.Book
	leaseTime time.Duration // lease; a test gives more, to see that it is noticed

	strangers time.Time // when comeBack warned last; of announce's goroutine

	raft        atomic.Pointer[raft.Raft]          // of a server; nil until the node has joined
	heldUntil   atomic.Pointer[time.Time]          // nil: no lease
	renewed     atomic.Pointer[time.Time]          // when the lease was renewed last
	health      atomic.Pointer[clusterpb.Health]   // as the leader said last
	held        atomic.Pointer[clusterpb.KeysHeld] // nil: none that the state says
	bootstraps  atomic.Pointer[bootstrap]          // what this node has still to propose
	ready       chan struct{}
	announceNow chan struct{} // asks for another announcement
	failed      chan error    // the first one stops the node
	leaving     chan struct{} // closed when Run begins to stop
	stopped     chan struct{} // closed when Run has stopped
	removed     atomic.Bool   // somebody said so
	release     func() error  // closes what Open opened, once
}

// Close releases what Open took. It is only for a cluster that is not run.
func (c *Cluster) Close() error {
	return errors.Join(c.mesh.Close(), ignoreClosed(c.release()))
}

// Run joins or makes the cluster and takes part in it until ctx ends; then it
// hands over, leaves, and returns nil when every goroutine is gone. Any other
// return says why this node cannot go on.
func (c *Cluster) Run(ctx context.Context) error {
	err := c.run(ctx)
	if closeErr := ignoreClosed(c.release()); err == nil {
		err = closeErr
	}
	return err
}

func (c *Cluster) run(ctx context.Context) error {
	defer close(c.stopped)
	fresh, err := c.prepareIdentity(ctx)
	if err != nil {
		_ = c.mesh.Close() // the first error says why
		if ctx.Err() != nil {
			return nil
		}
		return err
	}

	// The mesh outlives the workers: handing over needs it.
	meshCtx, stopMesh := context.WithCancel(context.WithoutCancel(ctx))
	var meshes sync.WaitGroup
	meshes.Go(func() {
		if err := c.mesh.Run(meshCtx); err != nil {
			c.fail(err)
		}
	})
	defer meshes.Wait()
	defer stopMesh()

	id := c.identity.p.Load()
	if err := c.gossip.start(id.trust.Load().gossip); err != nil {
		return err
	}
	defer c.gossip.stop()
	stopReplica, err := c.replica.start(fresh)
	if err != nil {
		return err
	}
	defer stopReplica()

	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	work, workCtx := errgroup.WithContext(workCtx)
	for _, worker := range []func(context.Context) error{
		c.replica.work, c.renewLease, c.announce, c.follow, c.tellLoad, c.callLost, c.dropDead, c.keepKeys, c.settle, c.guesses.Run,
	} {
		work.Go(func() error {
			err := worker(workCtx)
			if err != nil && workCtx.Err() == nil {
				c.fail(err)
			}
			return err
		})
	}

	select {
	case <-ctx.Done():
	case err = <-c.failed:
	}
	c.handOver()
	stopWork()
	_ = work.Wait() // what mattered has gone through c.failed
	c.leading.asking.Wait()
	if err == nil {
		select {
		case err = <-c.failed:
		default:
		}
	}
	return err
}

// handOver leaves such that nobody waits for this node: others lead, and know
// that it has gone.
func (c *Cluster) handOver() {
	close(c.leaving)
	c.leading.stop() // no lease is granted after another node may lead
	c.heldUntil.Store(nil)
	c.replica.handOver()
	c.gossip.leave()
}

// decided hands on what was applied. Raft's state machine waits meanwhile.
func (c *Cluster) decided(events ...store.Event) {
	now, ready := time.Now(), c.isReady()
	for _, e := range events {
		if e.Kind == store.EventRestored {
			c.settling.restored(c.state.LastEpoch(), now)
		}
	}
	// Before this node is ready these are old news.
	c.settling.follow(c.Self(), events, ready, now)
	if ready {
		c.placing.follow(events, c.leading.acts(), now)
	}
	c.watchers.publish(events...)
}

// fail stops the node. The first error counts.
func (c *Cluster) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

// Ready is closed when this node is part of the cluster: there is a leader, it
// has this node's record, and this node has applied that.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Self is this node.
func (c *Cluster) Self() store.NodeID { return c.config.NodeID }

// Addr is where other nodes reach this one.
func (c *Cluster) Addr() (cluster, gossip string) { return c.record.ClusterAddr, c.record.GossipAddr }

// Lookup is the home of a room as this node knows it. It never places one.
func (c *Cluster) Lookup(room store.RoomID) (store.Home, bool) { return c.state.Home(room) }

// Homes is a copy of all homes. With many rooms it is dear.
func (c *Cluster) Homes() map[store.RoomID]store.Home { return c.state.Homes() }

// HomesOf are the rooms that a node is the home of, as this node knows it.
func (c *Cluster) HomesOf(node store.NodeID) []store.RoomID { return c.state.HomesOf(node) }

// Node is the record of a node.
func (c *Cluster) Node(id store.NodeID) (store.Node, bool) { return c.state.Node(id) }

// Backends are the Nextclouds that operators have added.
func (c *Cluster) Backends() []store.Backend { return c.state.Backends() }

// Nodes are the records of all nodes, ordered by id.
func (c *Cluster) Nodes() []store.Node { return c.state.Nodes() }

// Applied is the index up to which nothing that was decided is missing here.
func (c *Cluster) Applied() uint64 { return c.replica.index() }

// Reached returns when what is at an index is applied here.
func (c *Cluster) Reached(ctx context.Context, index uint64) error { return c.replica.wait(ctx, index) }

// Watch gives the events of the state as they are applied here. Who reads too
// slowly gets a store.EventLagged and must read the state again.
func (c *Cluster) Watch() (events <-chan store.Event, cancel func()) { return c.watchers.watch() }

// WatchMembers ticks after changes of what Members and Status tell.
func (c *Cluster) WatchMembers() (changes <-chan struct{}, cancel func()) { return c.members.watch() }

// RPC connects to the other nodes. Services are registered before Run.
func (c *Cluster) RPC() *rpc.Mesh { return c.mesh }

// Guesses counts wrong guesses of secrets together with the other nodes.
func (c *Cluster) Guesses() *guesses.Book { return c.guesses }

// Sealer encrypts small texts for one purpose such that all nodes can open
// them.
func (c *Cluster) Sealer(purpose string) *Sealer { return newSealer(purpose, c.state) }

// SetDraining tells the others whether this node wants no new rooms.
func (c *Cluster) SetDraining(draining bool) { c.gossip.setDraining(draining) }

// resolve is where a node is: gossip has the newest address, the record the
// agreed one, and the book the one of before the start.
func (c *Cluster) resolve(id store.NodeID) (string, bool) {
	if addr, ok := c.gossip.clusterAddr(id); ok {
		return addr, true
	}
	if n, ok := c.state.Node(id); ok && n.ClusterAddr != "" {
		return n.ClusterAddr, true
	}
	return c.peers.clusterAddr(id)
}

// isReady tells whether Ready is closed.
func (c *Cluster) isReady() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}
