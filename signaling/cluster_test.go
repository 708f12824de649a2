package signaling_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/talkd/talkd/cluster/guesses"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	secret         = "a secret that only the test knows"
	internalSecret = "another one, of internal clients"
)

// cluster is a number of hubs in one process that are joined by real gRPC over
// loopback. Who is the home of a room is decided by the test.
type cluster struct {
	log        *slog.Logger
	t          testing.TB
	nextcloud  *signalingtest.Nextcloud
	nodes      []*testNode
	cables     *cables
	registries []*backend.Registry // of each node

	mu       sync.Mutex
	epoch    uint64                         // guarded by mu
	homes    map[store.RoomID]store.Home    // guarded by mu
	pins     map[string]store.NodeID        // guarded by mu; where rooms are placed, by name
	watchers map[chan store.Event]*testNode // guarded by mu
	tickers  map[chan struct{}]struct{}     // guarded by mu
	lag      time.Duration                  // each node hears of decisions up to so much later
}

// testNode is one hub with its two listeners.
type testNode struct {
	c       *cluster
	id      store.NodeID
	hub     *signaling.Hub
	web     *httptest.Server
	rpc     *grpc.Server
	addr    string
	lease   atomic.Bool
	crowded atomic.Bool // what Admit says
	metrics *prometheus.Registry
	media   *fakeEngine
	guesses *guesses.Book

	view   map[store.RoomID]store.Home // guarded by c.mu; what this node knows
	feed   chan store.Event
	hung   bool          // guarded by c.mu
	missed []store.Event // guarded by c.mu

	mu       sync.Mutex
	clients  map[store.NodeID]*grpc.ClientConn // guarded by mu
	alive    atomic.Bool
	draining atomic.Bool
	full     atomic.Bool
	stop     context.CancelFunc
	stopped  chan struct{}
	dead     sync.Once
}

type option func(*signaling.Config, *signaling.Deps)

func newCluster(t testing.TB, n int, options ...option) *cluster {
	t.Helper()
	return makeCluster(t, n, false, options...)
}

func makeCluster(t testing.TB, n int, lagging bool, options ...option) *cluster {
	t.Helper()
	c := &cluster{
		t:         t,
		log:       watchLog(t),
		cables:    newCables(),
		nextcloud: signalingtest.NewNextcloud(t, secret),
		homes:     make(map[store.RoomID]store.Home),
		pins:      make(map[string]store.NodeID),
		watchers:  make(map[chan store.Event]*testNode),
		tickers:   make(map[chan struct{}]struct{}),
	}
	if lagging {
		c.lag = 40 * time.Millisecond
	}
	for i := range n {
		node := &testNode{
			view: make(map[store.RoomID]store.Home), feed: make(chan store.Event, 1024),
			c: c, id: store.NodeID("n" + string(rune('1'+i))), clients: make(map[store.NodeID]*grpc.ClientConn),
			stopped: make(chan struct{}), media: &fakeEngine{}, metrics: prometheus.NewRegistry(),
		}
		node.lease.Store(true)
		node.alive.Store(true)
		lis, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		node.addr = lis.Addr().String()
		node.web = httptest.NewUnstartedServer(nil)
		c.nodes = append(c.nodes, node)
		node.rpc = grpc.NewServer()
		node.start(lis, options)
	}
	for _, n := range c.nodes {
		n.run()
	}
	t.Cleanup(func() {
		c.cables.mend()
		for _, n := range c.nodes {
			n.kill()
		}
	})
	// Without a link a message is held back, and arrives later than a test expects.
	for _, node := range c.nodes {
		eventually(t, "links of "+string(node.id), func() bool { return node.metric("talkd_signaling_links") == float64(n-1) })
	}
	return c
}

func (n *testNode) start(lis net.Listener, options []option) {
	t := n.c.t
	t.Helper()
	registry, err := backend.NewRegistry([]backend.Instance{n.c.nextcloud.Instance()})
	if err != nil {
		t.Fatal(err)
	}
	n.c.registries = append(n.c.registries, registry)
	client, err := backend.NewClient(backend.Config{}, registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	cfg := signaling.Config{
		PublicURL:      "http://" + n.web.Listener.Addr().String(),
		Version:        "test",
		MovesAtOnce:    20,
		Dev:            true,
		InternalSecret: internalSecret,
	}
	n.guesses = guesses.New(guesses.Config{Peers: n, Others: n.othersAlive})
	n.guesses.Register(n.rpc)
	deps := signaling.Deps{
		Self: n.id, Engine: n.media, Places: n, Nodes: n, Peers: n, Guesses: n.guesses,
		Seal:     func(purpose string) signaling.Sealer { return newSealer(purpose) },
		Backends: client, Registry: registry,
		Logger:     n.c.log,
		Registerer: n.metrics,
	}
	for _, o := range options {
		o(&cfg, &deps)
	}
	if n.hub, err = signaling.NewHub(cfg, deps); err != nil {
		t.Fatal(err)
	}
	n.hub.Register(n.rpc)
	go func() { _ = n.rpc.Serve(lis) }()
	n.web.Config.Handler = n.hub.Handler()
	n.web.Start()
}

func (n *testNode) run() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() {
		defer close(n.stopped)
		var wg sync.WaitGroup
		wg.Go(func() { n.learn(ctx) })
		wg.Go(func() { _ = n.guesses.Run(ctx) }) // it never fails
		defer wg.Wait()
		if err := n.hub.Run(ctx); err != nil {
			n.c.t.Errorf("run: %v", err)
		}
	}()
}

// metric reads a counter or a gauge: that of a label, or the one without.
func (n *testNode) metric(name string, label ...string) float64 {
	n.c.t.Helper()
	families, err := n.metrics.Gather()
	if err != nil {
		n.c.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (len(label) == 0 || m.GetLabel()[0].GetValue() == label[0]) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if len(label) == 0 {
		n.c.t.Fatalf("no metric %s", name)
	}
	return 0
}

func (n *testNode) url() string { return n.web.URL }

// kill ends a node as SIGKILL does: its sockets break, and nobody is told. What
// goes on inside is ended too, but no one hears of it.
func (n *testNode) kill() {
	n.dead.Do(func() {
		n.alive.Store(false)
		n.lease.Store(false)
		n.rpc.Stop()
		n.hangUp()
		n.web.CloseClientConnections()
		n.stop()
		<-n.stopped
		n.hangUp() // it may have dialled again meanwhile
		n.web.Close()
		n.c.tick()
	})
}

// quit ends a node as SIGTERM does.
func (n *testNode) quit() {
	n.stop()
	<-n.stopped
	n.kill()
}

// hangUp closes the connections to other nodes.
func (n *testNode) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, cc := range n.clients {
		_ = cc.Close()
		delete(n.clients, id)
	}
}

func (c *cluster) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.tickers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// pin says where a room is placed when it is.
func (c *cluster) pin(room string, n *testNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pins[room] = n.id
}

func (c *cluster) room(name string) store.RoomID {
	registry, err := backend.NewRegistry([]backend.Instance{c.nextcloud.Instance()})
	if err != nil {
		c.t.Fatal(err)
	}
	id, err := registry.Resolve(c.nextcloud.AuthURL())
	if err != nil {
		c.t.Fatal(err)
	}
	return store.RoomID{Backend: id, Name: name}
}

// move gives a room a new home.
func (c *cluster) move(room store.RoomID, to *testNode) { c.assign(room, to, store.ReasonMove) }

func (c *cluster) assign(room store.RoomID, to *testNode, why store.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.assignLocked(room, to.id, why)
}

func (c *cluster) assignLocked(room store.RoomID, to store.NodeID, why store.Reason) store.Home {
	c.epoch++
	home := store.Home{Node: to, Epoch: c.epoch, Created: time.Now(), Reason: why}
	old, moved := c.homes[room]
	if moved {
		home.Created = old.Created
	}
	c.homes[room] = home
	c.pins[room.Name] = to
	c.publishLocked(store.Event{Kind: store.EventHomeAssigned, Room: room, Home: home, Previous: old})
	return home
}

func (c *cluster) publishLocked(e store.Event) {
	for _, n := range c.nodes {
		if c.lag > 0 {
			n.feed <- e
		} else {
			n.learnLocked(e)
		}
	}
}

// learnLocked is the moment when the decision reaches the node.
func (n *testNode) learnLocked(e store.Event) {
	if n.hung {
		n.missed = append(n.missed, e)
		return
	}
	if e.Kind == store.EventHomeAssigned {
		n.view[e.Room] = e.Home
	} else {
		delete(n.view, e.Room)
	}
	for ch, of := range n.c.watchers {
		if of == n {
			ch <- e
		}
	}
}

// learn is a goroutine that hands decisions on late.
func (n *testNode) learn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-n.feed:
			time.Sleep(rand.N(n.c.lag)) // the lag that is to be tested
			n.c.mu.Lock()
			n.learnLocked(e)
			n.c.mu.Unlock()
		}
	}
}

func (n *testNode) Lookup(room store.RoomID) (store.Home, bool) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	h, ok := n.view[room]
	return h, ok
}

func (n *testNode) Find(_ context.Context, room store.RoomID) (store.Home, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	h, ok := n.c.homes[room]
	if !ok {
		return h, store.ErrNotFound
	}
	return h, nil
}

func (n *testNode) Place(_ context.Context, room store.RoomID) (store.Home, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if h, ok := n.view[room]; ok && n.hung {
		return h, nil // it knows no better
	}
	if h, ok := n.c.homes[room]; ok {
		return h, nil
	}
	at, pinned := n.c.pins[room.Name]
	if !pinned {
		at = n.id
	}
	return n.c.assignLocked(room, at, store.ReasonNew), nil
}

func (n *testNode) Release(_ context.Context, room store.RoomID, epoch uint64) error {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	h, ok := n.c.homes[room]
	switch {
	case !ok:
		return store.ErrNotFound
	case h.Epoch != epoch:
		return store.ErrStaleEpoch
	}
	delete(n.c.homes, room)
	n.c.publishLocked(store.Event{Kind: store.EventHomeReleased, Room: room, Home: h})
	return nil
}

func (n *testNode) Admit() error {
	if n.crowded.Load() {
		return wire.ErrClusterFull
	}
	return nil
}

func (n *testNode) Acts(store.RoomID, uint64) bool { return n.lease.Load() }

func (n *testNode) Watch() (<-chan store.Event, func()) {
	ch := make(chan store.Event, 1024)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.c.watchers[ch] = n
	return ch, func() {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		delete(n.c.watchers, ch)
	}
}

func (n *testNode) Nodes() []signaling.Node {
	var list []signaling.Node
	for _, other := range n.c.nodes {
		list = append(list, signaling.Node{
			ID: other.id, URL: "http://" + other.web.Listener.Addr().String(), Version: "test",
			Alive: other.alive.Load(), Draining: other.draining.Load(), Full: other.full.Load(),
		})
	}
	return list
}

func (n *testNode) othersAlive() []store.NodeID {
	var others []store.NodeID
	for _, other := range n.c.nodes {
		if other != n && other.alive.Load() {
			others = append(others, other.id)
		}
	}
	return others
}

func (n *testNode) Changed() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.c.tickers[ch] = struct{}{}
	return ch, func() {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		delete(n.c.tickers, ch)
	}
}

const headerPeer = "test-peer"

// Dial says who calls in a header; the real thing has certificates.
func (n *testNode) Dial(id store.NodeID) (grpc.ClientConnInterface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if cc, ok := n.clients[id]; ok {
		return cc, nil
	}
	for _, other := range n.c.nodes {
		if other.id != id {
			continue
		}
		cc, err := grpc.NewClient("passthrough:///"+other.addr,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(n.c.cables.dialer(n.id, id)),
			grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				return invoke(metadata.AppendToOutgoingContext(ctx, headerPeer, string(n.id)), method, req, reply, cc, opts...)
			}),
			grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				return open(metadata.AppendToOutgoingContext(ctx, headerPeer, string(n.id)), desc, cc, method, opts...)
			}))
		if err != nil {
			return nil, err
		}
		n.clients[id] = cc
		return cc, nil
	}
	return nil, errors.New("no such node")
}

func (n *testNode) PeerID(ctx context.Context) (store.NodeID, bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get(headerPeer); len(v) == 1 {
		return store.NodeID(v[0]), true
	}
	return "", false
}

// testSealer seals with a key that the whole test knows.
type testSealer struct{ aead cipher.AEAD }

func newSealer(purpose string) testSealer {
	key := sha256.Sum256([]byte("test " + purpose))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return testSealer{aead}
}

func (s testSealer) Seal(plain []byte) string {
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, nil))
}

func (s testSealer) Open(sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return nil, err
	}
	return s.aead.Open(nil, nil, b, nil)
}
