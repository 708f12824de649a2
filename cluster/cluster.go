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
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"

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

// Open takes the ports and the data directory. The state is the caller's, who
// closes it after Run has returned.
func Open(cfg Config, deps Deps) (_ *Cluster, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Logger == nil || cfg.server() != (deps.State != nil) {
		return nil, fmt.Errorf("%w: no logger, or a state where none belongs", ErrConfig)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, err
	}
	var undo closers
	defer func() {
		if err != nil {
			_ = undo.close() // the first error says why
		}
	}()

	var db *logStore
	if cfg.server() {
		if db, err = openLog(cfg.DataDir); err != nil {
			return nil, err
		}
		undo.add(db.Close)
	}
	id, err := loadIdentity(cfg.DataDir, cfg.NodeID, cfg.server())
	if err != nil {
		return nil, err
	}
	if id == nil && len(cfg.Join) == 0 && !cfg.server() {
		return nil, fmt.Errorf("%w: a node without the role %s begins no cluster; say --join HOST:PORT and --join-token", ErrConfig, store.RoleServer)
	}
	if id == nil && len(cfg.Join) > 0 && cfg.JoinToken == "" {
		return nil, ErrTokenNeeded
	}
	peers, err := openPeers(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	network := deps.Network
	if network == nil {
		network = &machine{log: deps.Logger}
	}
	listener, err := network.Listen(cfg.ClusterListen)
	if err != nil {
		return nil, fmt.Errorf("cluster port: %w", err)
	}
	undo.add(listener.Close)
	clusterAddr, err := advertised(cfg.ClusterAdvertise, listener.Addr().String())
	if err != nil {
		return nil, err
	}
	transport, err := network.Gossip(cfg.GossipListen)
	if err != nil {
		return nil, fmt.Errorf("gossip port: %w", err)
	}
	undo.add(transport.Shutdown)
	gossipAddr, err := advertised(cfg.GossipAdvertise, gossipAddress(transport, cfg.GossipListen))
	if err != nil {
		return nil, err
	}

	c := &Cluster{
		config: cfg, log: deps.Logger, load: deps.Load, network: network,
		db: db, peers: peers,
		members: newTickers(), leaders: newTickers(), leading: newLeadership(), hearing: newHearing(), placing: newPlacements(), settling: newSettling(),
		joinLimit: rate.NewLimiter(joinsPerSecond, joinsBurst), leaseTime: lease,
		ready: make(chan struct{}), announceNow: make(chan struct{}, 1),
		started: time.Now(), now: time.Now, boot: time.Now().UnixNano(),
		failed: make(chan error, 1), leaving: make(chan struct{}), stopped: make(chan struct{}),
		followers: newFollowers(),
		record: store.Node{
			ID: cfg.NodeID, PublicURL: cfg.PublicURL, ClusterAddr: clusterAddr, GossipAddr: gossipAddr,
			RelayAddr: cfg.RelayAddr, Region: cfg.Region, Version: cfg.Version, Roles: cfg.Roles, Commands: store.CommandVersion,
		},
	}
	if err := c.record.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if db != nil {
		db.fail = c.fail
	}
	c.identity.p.Store(id)
	c.metrics = newMetrics()
	c.watchers = newWatchers(c.metrics.lagged.Inc)
	if cfg.server() {
		machine := newFSM(deps.State, c.decided, c.fail)
		c.state, c.replica, c.feed = &deps.State.View, quorum{fsm: machine, c: c}, machine.feed
	} else {
		c.state = store.NewView()
		c.replica = newMirror(c)
	}
	c.gossip = newGossip(c.record, transport, deps.Logger, c.members.tick)
	c.gossip.regrouped = c.placing.changed
	c.mesh = rpc.New(rpc.Config{
		Self: cfg.NodeID, Listener: listener, Identity: &c.identity, Resolve: c.resolve, Join: c.serveJoin,
		Banished: c.banished, Told: []string{clusterpb.Cluster_Announce_FullMethodName},
		Dialer: network, Logger: deps.Logger, Registerer: deps.Registerer,
	})
	c.mesh.Register(func(r grpc.ServiceRegistrar) { clusterpb.RegisterClusterServer(r, &server{c: c}) })
	c.metrics.register(deps.Registerer, c)
	c.release = sync.OnceValue(undo.close)
	return c, nil
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
		c.replica.work, c.renewLease, c.announce, c.follow, c.tellLoad, c.callLost, c.dropDead, c.keepKeys, c.settle,
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

// advertised is the address to tell others: the configured one, or the one
// that is listened on.
func advertised(configured, listening string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if host, _, err := net.SplitHostPort(listening); err != nil || unspecified(host) {
		return "", fmt.Errorf("%w: listening on %s, but no address to advertise", ErrConfig, listening)
	}
	return listening, nil
}

// closers undo a constructor, last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var all error
	for i := len(*c) - 1; i >= 0; i-- {
		all = errors.Join(all, (*c)[i]())
	}
	return all
}

// ignoreClosed is for what Run has closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
