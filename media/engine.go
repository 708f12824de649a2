// Package media forwards audio and video: it ends the WebRTC connections of
// publishers and subscribers of this node and moves packets between them.
//
//	socket ─▶ ingress (opens) ─▶ trackSource ─┐ police          ┌─▶ downTrack ─▶ seal ─┬─▶ burst ─▶ UDP socket
//	                                          ├─▶ layer (pump) ─┼─▶ downTrack ─▶ seal ─┘
//	relay (Relayed) ──────────▶ its Source ───┘   + history     └─▶ relay to another node (Local.Attach)
//
//	upstream: NACK is answered from the layer's history, keyframe requests are
//	merged in the layer and go to the publisher or over the relay.
//
// One goroutine per layer writes to all its sinks; those of the sockets take in
// what publishers send, and forward it themselves where few listen. One
// per connection sends reports and answers subscribers, and one per subscription
// forwards data-channel messages. All end with the Publisher, Subscriber or pull
// they belong to, and Run waits for them. The package knows no rooms: a Group is a name.
package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

// Config is what an engine is told once.
type Config struct {
	// ListenUDP is "ip:port" of all media of the node; TCP candidates are served
	// on the same address and port number. Port 0 takes any.
	ListenUDP string
	// Advertise are the addresses to write into candidates instead of those of
	// the interfaces.
	Advertise []string
	// MaxPublishers and MaxSubscribers bound the connections; 0 is the default.
	MaxPublishers  int
	MaxSubscribers int
	// MaxStreamBitrate and MaxScreenBitrate are what publishers are asked not to
	// exceed with their video, in bit/s, and what is forwarded of it; 0 is no limit.
	MaxStreamBitrate int
	MaxScreenBitrate int
	// Loudest is how many voices of a Group are forwarded, those that are the
	// loudest; 0: all.
	Loudest int
	// BlockedCandidates are networks of which addresses that clients name are not used,
	// unless they are in AllowedCandidates.
	BlockedCandidates, AllowedCandidates []netip.Prefix
	// RequireAES256 refuses clients that cannot encrypt their media with AES-256,
	// which is otherwise only preferred.
	RequireAES256 bool
}

const (
	defaultPublishers  = 1000
	defaultSubscribers = 10000
	maxGroup           = 1024
)

func (c Config) withDefaults() Config {
	if c.MaxPublishers == 0 {
		c.MaxPublishers = defaultPublishers
	}
	if c.MaxSubscribers == 0 {
		c.MaxSubscribers = defaultSubscribers
	}
	return c
}

// Validate checks the configuration.
func (c Config) Validate() error {
	if _, err := netip.ParseAddrPort(c.ListenUDP); err != nil {
		return fmt.Errorf("media: listen address %q is not ip:port", c.ListenUDP)
	}
	for _, a := range c.Advertise {
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("media: advertised address %q is not an IP address", a)
		}
	}
	if c.MaxPublishers < 0 || c.MaxSubscribers < 0 || c.MaxStreamBitrate < 0 || c.MaxScreenBitrate < 0 || c.Loudest < 0 {
		return errors.New("media: a limit is below zero")
	}
	return nil
}

// Deps are what an engine uses.
type Deps struct {
	// Self is the id of this node.
	Self store.NodeID
	// Remote brings publications of other nodes; see SetRemote.
	Remote     Remote
	Logger     *slog.Logger
	Registerer prometheus.Registerer // may be nil
}

// Engine holds all publishers and subscribers of this node.
type Engine struct {
	cfg     Config
	self    store.NodeID
	log     *slog.Logger
	net     *network
	metrics *metrics
	pool    Pool
	total   traffic

	// life ends when the engine stops; pulls run in it.
	life context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup // everything that Run waits for; Add only while !closed

	mu          sync.Mutex
	closed      bool                     // guarded by mu
	remote      Remote                   // guarded by mu
	publishers  map[PubID]*Publisher     // guarded by mu
	subscribers map[*Subscriber]struct{} // guarded by mu
	ordered     uint64                   // guarded by mu; subscribers since the start
	pulls       map[PubID]*pull          // guarded by mu
	groups      map[string]*group        // guarded by mu
}

// NewEngine opens the sockets; Run releases them.
func NewEngine(cfg Config, deps Deps) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	e := &Engine{
		cfg:         cfg,
		self:        deps.Self,
		log:         deps.Logger,
		remote:      deps.Remote,
		publishers:  map[PubID]*Publisher{},
		subscribers: map[*Subscriber]struct{}{},
		pulls:       map[PubID]*pull{},
		groups:      map[string]*group{},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if e.metrics, err = newMetrics(e, deps.Registerer); err != nil {
		return nil, err
	}
	if e.net, err = newNetwork(cfg, deps, e.metrics); err != nil {
		e.metrics.unregister()
		return nil, err
	}
	e.life, e.stop = context.WithCancel(context.Background())
	return e, nil
}

// SetRemote sets what brings publications of other nodes. It is for before Run,
// as the relay needs the engine and the engine the relay.
func (e *Engine) SetRemote(r Remote) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.remote = r
}

// Addr is the address of the UDP port.
func (e *Engine) Addr() netip.AddrPort { return e.net.addr }

// Run waits for the end of ctx, then closes all connections and sockets and
// returns when every goroutine is gone.
func (e *Engine) Run(ctx context.Context) error {
	<-ctx.Done()
	e.mu.Lock()
	e.closed = true
	var conns []*conn
	for _, p := range e.publishers {
		conns = append(conns, p.conn)
	}
	for s := range e.subscribers {
		conns = append(conns, s.conn)
	}
	e.mu.Unlock()
	for _, c := range conns {
		c.end(ErrClosed)
	}
	e.stop()
	e.wg.Wait()
	e.metrics.unregister()
	return e.net.Close()
}

// recovered counts a panic that has ended something of the engine.
func (e *Engine) recovered(v any) {
	e.metrics.panics.Inc()
	e.log.Error("a goroutine panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
}

// Local is a publication of this node, as relay serves it to others.
func (e *Engine) Local(id PubID) (*Local, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.publishers[id]
	if !ok {
		return nil, false
	}
	return &Local{f: p.feed}, true
}

// acquire returns the feed of a publication, which release gives back.
func (e *Engine) acquire(pub Publication) (f *feed, release func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, ErrClosed
	}
	if pub.Edge == e.self {
		p, ok := e.publishers[pub.ID]
		if !ok {
			return nil, nil, fmt.Errorf("%w: %s", ErrNotFound, pub.ID)
		}
		return p.feed, func() {}, nil
	}
	if e.remote == nil {
		return nil, nil, ErrNoRemote
	}
	p, err := e.pullLocked(pub)
	if err != nil {
		return nil, nil, err
	}
	return p.feed, p.leave, nil
}
