// Package node puts the parts of a node together. It is the only place that
// knows all of them, and known only by cmd/talkd and test/e2e.
//
//	config ─▶ New: lock ─ store ─ cluster ─ media, relay ─ backend, api, signaling ─ web, listeners
//	          Run: cluster, events, operations, admin listener     started first, stopped last
//	               media, relay, load and relay meters, clock      when the cluster is ready
//	               signaling, conversations, what other nodes pass on
//	               public listener                                 last, and refused first
//
// A node without the role server has no store: what needs it is passed on to a
// server (roles.go, questions.go, package forward).
//
// Packages of one level never import each other; where one needs another it
// says so by a small interface; signaling.go, report.go and admin.go join them.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay"
	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/node/forward"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/store"
)

// Node is one node of a cluster.
type Node struct {
	cfg      config.Config
	version  string
	log      *slog.Logger
	started  time.Time
	registry *prometheus.Registry
	metrics  metrics

	lock       *os.File
	state      *store.State // nil without the role server
	cluster    *cluster.Cluster
	engine     *media.Engine
	relays     *relay.Manager
	backends   *backend.Client // of the Nextclouds
	nextclouds *backendBook
	hub        *signaling.Hub
	api        *api.Server        // nil: the embedded backend is not served, or not from here
	book       conversationBook   // nil: the embedded backend is not served
	forward    *forward.Forwarder // to servers; nil: there is nothing to pass on
	passed     *httpServer        // what other nodes pass on; nil: nothing
	inspector  *inspect.Inspector
	meter      *meter
	relayed    *relayMeter
	edges      *edgeCache
	events     *events
	operations *operations
	public     *httpServer
	admin      *httpServer
	gate       *gate
	ready      chan struct{}
	patience   context.Context // ends when nobody is to be waited for any more
	hurry      context.CancelFunc
}

// New opens everything the node needs, so that what is missing is told at once:
// the data directory, the ports, the identity. Nothing runs before Run.
func New(cfg config.Config, version string, log *slog.Logger) (_ *Node, err error) {
	n := &Node{
		cfg: cfg, version: version, log: log.With("node", cfg.Node.ID), started: time.Now(),
		registry: prometheus.NewRegistry(), gate: new(gate), ready: make(chan struct{}),
	}
	n.patience, n.hurry = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			n.release()
		}
	}()
	if err := n.register(); err != nil {
		return nil, err
	}
	for _, open := range []func() error{n.openState, n.openCluster, n.openMedia, n.openSignaling, n.openDoors} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Ready is closed when the node takes traffic.
func (n *Node) Ready() <-chan struct{} { return n.ready }

func (n *Node) takesTraffic() bool { return n.gate.open.Load() && !n.gate.leaving.Load() }

// Run serves until ctx ends or a part fails. When ctx ends, people and rooms are
// sent to other nodes first, within node.drain_timeout or until Hurry. It returns
// when everything is released; a Node runs once.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	doors := []service{{"signaling", n.hub.Run}, {"conversations", n.followConversations}, {"backends", n.nextclouds.Run}}
	if n.passed != nil {
		doors = append(doors, service{"requests of other nodes", n.passed.Run})
	}
	return runStages(ctx,
		stage{
			services: []service{
				{"cluster", n.cluster.Run}, {"events", n.events.Run}, {"operations", n.operations.Run}, {"admin listener", n.admin.Run},
			},
			started:  n.awaitCluster,
			stopping: n.events.close,
		},
		stage{services: []service{
			{"media", n.engine.Run}, {"relay", n.relays.Run}, {"load", n.meter.Run}, {"relay meter", n.relayed.Run},
			{"clock", n.compareClocks},
		}},
		stage{
			services: doors,
			started:  n.prepareDoors,
		},
		stage{
			services: []service{{"public listener", n.public.Run}},
			started: func(context.Context) error {
				n.gate.open.Store(true)
				close(n.ready)
				n.log.Info("ready", "url", n.cfg.HTTP.PublicURL)
				return nil
			},
			stopping: func() {
				n.leave(ctx.Err() != nil)
				n.gate.open.Store(false)
				n.log.Info("stopping")
			},
		},
	)
}

// JoinCommands are the commands that start the other nodes of a cluster that
// is begun with --expect, each with a token of its own; IP in them is the
// address of the machine where they run. A node that joined another, or that
// was started before, has none.
func (n *Node) JoinCommands(ctx context.Context) ([]string, error) {
	tokens, err := n.cluster.FirstTokens(ctx)
	if err != nil {
		return nil, err
	}
	commands := make([]string, len(tokens))
	for i, token := range tokens {
		commands[i] = n.joinCommand(token)
	}
	return commands, nil
}

// joinCommand takes the other node to listen on the same port as this one.
func (n *Node) joinCommand(token string) string {
	_, port, _ := net.SplitHostPort(n.cfg.HTTP.Listen) // validated before
	return fmt.Sprintf("talkd serve --advertise IP --http IP:%s --join %s --join-token %s", port, n.joinAddr(), token)
}

// openState locks the data directory before it touches what is in it.
func (n *Node) openState() error {
	if err := os.MkdirAll(n.cfg.Node.Data, 0o700); err != nil {
		return err
	}
	var err error
	if n.lock, err = lockDir(n.cfg.Node.Data); err != nil {
		return err
	}
	if !n.has(store.RoleServer) {
		return nil
	}
	n.state, err = store.Open(filepath.Join(n.cfg.Node.Data, "state"))
	return err
}

func (n *Node) openCluster() error {
	n.meter = newMeter(n.traffic, n.limits, func(share float64) media.Shed { return n.engine.Shed(share) })
	c, err := cluster.Open(cluster.Config{
		DataDir: n.cfg.Node.Data, NodeID: store.NodeID(n.cfg.Node.ID),
		ClusterListen: n.cfg.Cluster.Listen, ClusterAdvertise: n.cfg.Cluster.Advertise,
		GossipListen: n.cfg.Cluster.GossipListen, GossipAdvertise: n.cfg.Cluster.GossipAdvertise,
		Join: n.cfg.Cluster.Join, JoinToken: n.cfg.Cluster.JoinToken, Expect: n.cfg.Cluster.Expect,
		Voters: n.cfg.Cluster.Voters,
		Region: n.cfg.Node.Region, Roles: n.cfg.Node.Roles, PublicURL: n.cfg.HTTP.PublicURL,
		RelayAddr: n.cfg.Relay.Advertise, Version: n.version, Prefer: n.edgesOf,
	}, cluster.Deps{State: n.state, Logger: n.log, Registerer: n.registry, Load: n.load})
	if err != nil {
		return err
	}
	n.cluster = c
	n.events = newEvents(c.Self(), c)
	return nil
}

// openMedia: the engine asks the relay for publications of other nodes, and the
// relay asks the engine for its own.
func (n *Node) openMedia() error {
	blocked, allowed, err := n.cfg.Media.Candidates()
	if err != nil {
		return err
	}
	n.engine, err = media.NewEngine(media.Config{
		ListenUDP: n.cfg.Media.Listen, Advertise: n.cfg.Media.Advertise,
		MaxStreamBitrate: n.cfg.Media.MaxVideoBitrate, MaxScreenBitrate: n.cfg.Media.MaxScreenBitrate,
		Loudest: n.cfg.Media.Loudest, RequireAES256: n.cfg.Media.AES256 == config.AES256Require,
		BlockedCandidates: blocked, AllowedCandidates: allowed,
	}, media.Deps{Self: n.cluster.Self(), Logger: n.log, Registerer: n.registry})
	if err != nil {
		return err
	}
	mesh := n.cluster.RPC()
	n.relays, err = relay.NewManager(relay.Config{ListenUDP: n.cfg.Relay.Listen, Advertise: n.cfg.Relay.Advertise}, relay.Deps{
		Self: n.cluster.Self(), Peers: mesh, PeerID: rpc.PeerID, RelayAddr: n.relayAddr,
		Local: relay.ServeLocal(n.engine.Local),
		Authorize: func(ctx context.Context, peer store.NodeID, id media.PubID) error {
			return n.hub.AuthorizePull(ctx, peer, id)
		},
		Logger: n.log, Registerer: n.registry,
	})
	if err != nil {
		return err
	}
	n.engine.SetRemote(n.relays)
	mesh.Register(n.relays.Register)
	n.relayed = newRelayMeter(n.relays.Streams)
	return nil
}

func (n *Node) openDoors() error {
	mux := http.NewServeMux()
	if n.has(store.RoleSignaling) {
		mux.Handle("/", pages(n.cfg.Signaling.Embedded, n.elsewhere, n.origins))
		for _, path := range []string{"/spreed", "/standalone-signaling/", "/api/v1/", "/turn/"} {
			mux.Handle(path, n.hub.Handler())
		}
	} else {
		mux.Handle("/", sendAway(n.anotherDoor))
		mux.HandleFunc("/healthz", healthy)
	}
	var rest http.Handler
	switch {
	case n.api != nil:
		rest = n.api.Handler()
	case n.forward != nil && n.has(store.RoleSignaling):
		rest = n.forward
	}
	if rest != nil {
		mux.Handle("/ocs/", rest)
		mux.Handle("/status.php", rest)
	}
	proxies, err := n.cfg.HTTP.Proxies()
	if err != nil {
		return err
	}
	n.gate.next = doctor.TellSeen(proxies, n.hub.ValidProbe, behindProxies(proxies, api.CleanPath(mux)))
	ctx := context.Background()
	if n.public, err = listenHTTP(ctx, n.cfg.HTTP.Listen, n.cfg.HTTP.TLSCert, n.cfg.HTTP.TLSKey, n.gate, n.log); err != nil {
		return err
	}
	if n.has(store.RoleSignaling) {
		n.public.upgradesAt("/spreed", "/standalone-signaling/spreed")
	}
	admin, err := n.newAdmin()
	if err != nil {
		return err
	}
	n.admin, err = listenHTTP(ctx, n.cfg.Admin.Listen, n.cfg.Admin.TLSCert, n.cfg.Admin.TLSKey, admin, n.log)
	return err
}

// awaitCluster waits until this node has joined and there is a leader.
func (n *Node) awaitCluster(ctx context.Context) error {
	select {
	case <-n.cluster.Ready():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// prepareDoors sees to what whoever comes first needs: the services that follow it
// have begun, but perhaps got no further.
func (n *Node) prepareDoors(ctx context.Context) error {
	n.nextclouds.serve()
	return n.initUser(ctx)
}

// initUser makes the account that the configuration names, if it is missing.
func (n *Node) initUser(ctx context.Context) error {
	name, password, ok := strings.Cut(n.cfg.Accounts.InitUser, ":")
	if !ok || n.api == nil {
		return nil
	}
	err := n.api.CreateUser(ctx, api.NewUser{ID: name, Password: password, DisplayName: name, Admin: true})
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("accounts.init_user: %w", err)
	}
	return nil
}

// release closes what New has opened when it fails.
func (n *Node) release() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if n.public != nil {
		n.public.close()
	}
	if n.relays != nil {
		_ = n.relays.Close() // the first error says why
	}
	if n.engine != nil {
		_ = n.engine.Run(ended) // only releases the sockets
	}
	if n.cluster != nil {
		_ = n.cluster.Close()
	}
	n.close()
}

// close ends what has no goroutine of its own, when nobody uses it any more.
func (n *Node) close() {
	n.hurry()
	if n.backends != nil {
		n.backends.Close()
	}
	if n.forward != nil {
		n.forward.Close()
	}
	if n.state != nil {
		if err := n.state.Close(); err != nil {
			n.log.Error("closing the database failed", "error", err)
		}
	}
	if n.lock != nil {
		_ = n.lock.Close() // nothing was written
	}
}
