package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/talkd/talkd/cluster/guesses"
	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

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
	c.guesses = guesses.New(guesses.Config{Peers: c.mesh, Others: c.othersAlive, Registerer: deps.Registerer})
	c.mesh.Register(c.guesses.Register)
	c.metrics.register(deps.Registerer, c)
	c.release = sync.OnceValue(undo.close)
	return c, nil
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
