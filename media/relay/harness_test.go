package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/store"
)

// waitFor bounds every wait for something that must happen.
const waitFor = 10 * time.Second

// network is a set of nodes whose RPC goes through memory and whose datagrams
// go over loopback.
type network struct {
	t     *testing.T
	mu    sync.Mutex // guards nodes
	nodes map[store.NodeID]*testNode
}

// testNode is one process.
type testNode struct {
	net     *network
	id      store.NodeID
	manager *Manager
	sock    *testSocket
	server  *grpc.Server
	pipe    *bufconn.Listener
	done    chan struct{}
	cancel  context.CancelFunc
	denied  atomic.Bool
	denials atomic.Int32                 // of these many questions, whatever denied says
	asked   atomic.Int32                 // questions so far
	engine  atomic.Pointer[media.Engine] // what the node serves, if any

	mu     sync.Mutex // guards what follows
	locals map[media.PubID]*fakeLocal
	conns  map[store.NodeID]*grpc.ClientConn
}

func newNetwork(t *testing.T, ids ...store.NodeID) *network {
	n := &network{t: t, nodes: make(map[store.NodeID]*testNode)}
	for _, id := range ids {
		n.start(id)
	}
	t.Cleanup(func() {
		for _, id := range ids {
			n.node(id).kill()
		}
	})
	return n
}

func (n *network) node(id store.NodeID) *testNode {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[id]
}

// start begins a process for the node; one before it must have been killed.
func (n *network) start(id store.NodeID) *testNode {
	n.t.Helper()
	udp, err := listen(n.t.Context(), "127.0.0.1:0", nil, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	node := &testNode{
		net: n, id: id, sock: &testSocket{socket: udp}, pipe: bufconn.Listen(1 << 20), done: make(chan struct{}),
		locals: make(map[media.PubID]*fakeLocal), conns: make(map[store.NodeID]*grpc.ClientConn),
	}
	node.manager, err = newManager("", node.sock, node.deps())
	if err != nil {
		n.t.Fatal(err)
	}
	node.server = grpc.NewServer(grpc.WaitForHandlers(true))
	node.manager.Register(node.server)
	var ctx context.Context
	ctx, node.cancel = context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := node.manager.Run(ctx); err != nil {
			n.t.Errorf("Run of %s: %v", id, err)
		}
	})
	wg.Go(func() { _ = node.server.Serve(node.pipe) })
	go func() {
		wg.Wait()
		close(node.done)
	}()
	n.mu.Lock()
	n.nodes[id] = node
	n.mu.Unlock()
	return node
}

func (t *testNode) deps() Deps {
	return Deps{
		Self:  t.id,
		Peers: t,
		PeerID: func(ctx context.Context) (store.NodeID, bool) {
			md, _ := metadata.FromIncomingContext(ctx)
			if ids := md.Get("node"); len(ids) == 1 {
				return store.NodeID(ids[0]), true
			}
			return "", false
		},
		RelayAddr: func(id store.NodeID) (string, bool) {
			if peer := t.net.node(id); peer != nil {
				return peer.manager.Addr(), true
			}
			return "", false
		},
		Local: func(id media.PubID) (Local, bool) {
			if e := t.engine.Load(); e != nil {
				return ServeLocal(e.Local)(id)
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			l, ok := t.locals[id]
			return l, ok
		},
		Authorize: func(context.Context, store.NodeID, media.PubID) error {
			t.asked.Add(1)
			if t.denied.Load() || t.denials.Add(-1) >= 0 {
				return errors.New("in another room")
			}
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Dial is the node's RPC client.
func (t *testNode) Dial(id store.NodeID) (grpc.ClientConnInterface, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.conns[id]; c != nil {
		return c, nil
	}
	name := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "node", string(t.id))
	}
	c, err := grpc.NewClient("passthrough:///"+string(id),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			peer := t.net.node(id)
			if peer == nil {
				return nil, errors.New("no such node")
			}
			return peer.pipe.DialContext(ctx)
		}),
		grpc.WithUnaryInterceptor(func(ctx context.Context, m string, q, r any, c *grpc.ClientConn, next grpc.UnaryInvoker, o ...grpc.CallOption) error {
			return next(name(ctx), m, q, r, c, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, m string, next grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			return next(name(ctx), d, c, m, o...)
		}),
	)
	if err == nil {
		t.conns[id] = c
	}
	return c, err
}

// kill ends the process. RPC goes first, so that others see a dead node and not
// one that takes leave.
func (t *testNode) kill() {
	_ = t.pipe.Close()
	t.mu.Lock()
	conns := t.conns
	t.conns = nil
	t.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	t.server.Stop()
	t.cancel()
	<-t.done
}

// publish makes a publication on the node.
func (t *testNode) publish(session store.SessionID) *fakeLocal {
	l := newFakeLocal(publication(t.id, session))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.locals[l.pub.ID] = l
	return l
}

// pull makes the node pull, and closes the pull when the test ends.
func (t *testNode) pull(pub media.Publication) *media.Relayed {
	t.net.t.Helper()
	ctx, cancel := context.WithTimeout(t.net.t.Context(), waitFor)
	defer cancel()
	r, err := t.manager.Pull(ctx, pub)
	if err != nil {
		t.net.t.Fatalf("Pull: %v", err)
	}
	t.net.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (t *testNode) drops(r dropReason) uint64 { return t.manager.stats.drops[r].Load() }

func publication(edge store.NodeID, session store.SessionID) media.Publication {
	return media.Publication{
		ID: media.PubID{Session: session, Kind: media.KindVideo, Generation: 1}, Edge: edge, Group: "room", Data: true,
		Tracks: []media.TrackInfo{
			{
				Index: 0, Kind: media.Audio, Codec: media.Codec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2},
				Layers: []media.LayerInfo{{Index: 0}},
			},
			{
				Index: 1, Kind: media.Video, Codec: media.Codec{MimeType: "video/VP8", ClockRate: 90000},
				Layers: []media.LayerInfo{{Index: 0, RID: "l"}, {Index: 1, RID: "h"}},
			},
		},
	}
}

// testSocket lets a test see and drop what goes out.
type testSocket struct {
	socket
	filter atomic.Pointer[func(header, []byte) bool] // false drops
}

func (s *testSocket) burst() burst {
	b := s.socket.burst()
	if f := s.filter.Load(); f != nil {
		return &testBurst{burst: b, pass: *f}
	}
	return b
}

// testBurst loses the frames that do not pass.
type testBurst struct {
	burst
	pass func(header, []byte) bool
	room []byte
}

func (b *testBurst) Room(size int) []byte {
	b.room = b.burst.Room(size)
	return b.room
}

func (b *testBurst) Add(to netip.AddrPort, n int) {
	if h, ok := parseHeader(b.room[:n]); !ok || b.pass(h, b.room[:n]) {
		b.burst.Add(to, n)
	}
}

func (s *testSocket) intercept(f func(header, []byte) bool) { s.filter.Store(&f) }

// dropEvery drops each nth frame of the kind.
func (s *testSocket) dropEvery(n uint64, k kind) {
	var count atomic.Uint64
	s.intercept(func(h header, _ []byte) bool { return h.kind != k || count.Add(1)%n != 0 })
}

// fakeLocal is a publication with a history of everything.
type fakeLocal struct {
	pub  media.Publication
	done chan struct{}
	pool media.Pool

	mu     sync.Mutex // guards what follows
	layers map[[2]uint8]*fakeLayer
	subs   map[*fakeData]struct{}
}

type fakeLayer struct {
	l         *fakeLocal
	sinks     map[*fakeAttachment]media.Sink
	history   map[uint16]*media.Packet
	keyframes int
	past      int // packets since a keyframe of just now
	clock     media.Clock
}

type fakeAttachment struct{ layer *fakeLayer }

type fakeData struct {
	l *fakeLocal
	c chan media.DataMessage
}

func newFakeLocal(pub media.Publication) *fakeLocal {
	l := &fakeLocal{
		pub: pub, done: make(chan struct{}), layers: make(map[[2]uint8]*fakeLayer), subs: make(map[*fakeData]struct{}),
	}
	for _, t := range pub.Tracks {
		for _, i := range t.Layers {
			l.layers[[2]uint8{t.Index, i.Index}] = &fakeLayer{
				l: l, sinks: make(map[*fakeAttachment]media.Sink), history: make(map[uint16]*media.Packet),
			}
		}
	}
	return l
}

func (l *fakeLocal) Publication() media.Publication { return l.pub }
func (l *fakeLocal) Done() <-chan struct{}          { return l.done }

func (l *fakeLocal) Attach(track, layer uint8, sink media.Sink) (Attachment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.layers[[2]uint8{track, layer}]
	if f == nil {
		return nil, media.ErrNotFound
	}
	a := &fakeAttachment{layer: f}
	f.sinks[a] = sink
	return a, nil
}

func (l *fakeLocal) SubscribeData() DataSubscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &fakeData{l: l, c: make(chan media.DataMessage, media.DataQueue)}
	l.subs[d] = struct{}{}
	return d
}

// write sends packets from the sequence number on.
func (l *fakeLocal) write(track, layer uint8, seqs ...uint16) {
	var batch []*media.Packet
	l.mu.Lock()
	f := l.layers[[2]uint8{track, layer}]
	for _, seq := range seqs {
		p := testPacket(&l.pool, seq, sizeOf(seq))
		f.history[seq] = p
		batch = append(batch, p)
	}
	var sinks []media.Sink
	for _, s := range f.sinks {
		sinks = append(sinks, s)
	}
	l.mu.Unlock()
	for _, s := range sinks {
		s.Write(batch)
	}
}

func (l *fakeLocal) say(m media.DataMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.subs {
		d.c <- m
	}
}

func (l *fakeLocal) setClock(track, layer uint8, c media.Clock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.layers[[2]uint8{track, layer}].clock = c
}

func (l *fakeLocal) keyframes(track, layer uint8) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.layers[[2]uint8{track, layer}].keyframes
}

// users counts what is attached.
func (l *fakeLocal) users() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.subs)
	for _, f := range l.layers {
		n += len(f.sinks)
	}
	return n
}

func (a *fakeAttachment) NACK(seqs []uint16) {
	l := a.layer.l
	var batch []*media.Packet
	l.mu.Lock()
	for _, s := range seqs {
		if p := a.layer.history[s]; p != nil {
			batch = append(batch, p)
		}
	}
	sink := a.layer.sinks[a]
	l.mu.Unlock()
	if sink != nil {
		sink.Write(batch)
	}
}

func (a *fakeAttachment) Keyframe() {
	a.layer.l.mu.Lock()
	defer a.layer.l.mu.Unlock()
	a.layer.keyframes++
}

func (a *fakeAttachment) Past() bool {
	l := a.layer.l
	l.mu.Lock()
	seqs := slices.Sorted(maps.Keys(a.layer.history))
	seqs = seqs[len(seqs)-min(a.layer.past, len(seqs)):]
	l.mu.Unlock()
	a.NACK(seqs) // writes them
	return len(seqs) > 0
}

func (a *fakeAttachment) Clock() (media.Clock, bool) {
	a.layer.l.mu.Lock()
	defer a.layer.l.mu.Unlock()
	return a.layer.clock, a.layer.clock != media.Clock{}
}

func (a *fakeAttachment) Close() {
	a.layer.l.mu.Lock()
	defer a.layer.l.mu.Unlock()
	delete(a.layer.sinks, a)
}

func (d *fakeData) C() <-chan media.DataMessage { return d.c }

func (d *fakeData) Close() {
	d.l.mu.Lock()
	defer d.l.mu.Unlock()
	delete(d.l.subs, d)
}

// sizeOf varies the sizes, up to the largest.
func sizeOf(seq uint16) int { return 100 + int(seq)*37%(media.MaxPacket-99) }

// testPacket makes a packet whose bytes follow from seq and size.
func testPacket(pool *media.Pool, seq uint16, size int) *media.Packet {
	p := pool.Get()
	b := p.Buffer()
	b[0], b[1] = 0x80, 0x80|96
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], uint32(seq)*3000)
	binary.BigEndian.PutUint32(b[8:], 0xcafe)
	for i := 12; i < size; i++ {
		b[i] = byte(int(seq) + i)
	}
	if err := p.Parse(size); err != nil {
		panic(err)
	}
	return p
}

func layerOf(r *media.Relayed, track, layer uint8) media.RelayedLayer {
	for _, l := range r.Layers {
		if l.Track == track && l.Layer == layer {
			return l
		}
	}
	panic("no such layer")
}

// collect reads n different packets of a layer, checks each against what was
// written, and returns the order in which they came first.
func collect(t *testing.T, src media.Source, n int) []uint16 {
	t.Helper()
	var order []uint16
	timeout := time.AfterFunc(waitFor, func() { _ = src.Close() })
	defer timeout.Stop()
	seen := make(map[uint16]bool)
	batch := make([]*media.Packet, 64)
	var pool media.Pool
	for len(order) < n {
		k, err := src.Read(batch)
		if err != nil {
			t.Fatalf("Read after %d of %d packets: %v", len(order), n, err)
		}
		for _, p := range batch[:k] {
			if want := testPacket(&pool, p.Sequence, sizeOf(p.Sequence)); !bytes.Equal(p.Raw(), want.Raw()) {
				t.Fatalf("packet %d was changed", p.Sequence)
			}
			if p.Arrival.IsZero() || !p.Marker || p.Timestamp != uint32(p.Sequence)*3000 {
				t.Fatalf("packet %d is not parsed", p.Sequence)
			}
			if !seen[p.Sequence] {
				seen[p.Sequence] = true
				order = append(order, p.Sequence)
			}
			p.Release()
		}
	}
	return order
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		time.Sleep(time.Millisecond) // polls the other goroutine
	}
}

func numbers(from, n int) []uint16 {
	seqs := make([]uint16, n)
	for i := range seqs {
		seqs[i] = uint16(from + i)
	}
	return seqs
}
