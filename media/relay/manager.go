package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/relay/internal/relaypb"
	"github.com/talkd/talkd/store"
)

// readPause keeps a socket that fails at every read from using up a core.
const readPause = 10 * time.Millisecond

// Manager is this node's end of all relays. It meets media.Remote.
type Manager struct {
	deps      Deps
	advertise string
	socket    socket
	table     table
	stats     stats
	packets   media.Pool
	batches   sync.Pool // of *sendBatch

	auditEvery time.Duration // auditInterval, but for tests

	life  context.Context // ends with the Manager
	stop  context.CancelFunc
	tasks sync.WaitGroup // goroutines of pulls; none is added once closed

	mu     sync.Mutex // guards what follows
	closed bool
	peers  map[store.NodeID]*peerKeys
	served map[store.NodeID]*link // as sender; the last that a node agreed on
	pulls  map[*pull]struct{}
	flows  map[flowKey]*flow
}

// flowKey is what flows once only.
type flowKey struct {
	peer store.NodeID
	pub  media.PubID
}

// peerKeys is the link by which this node pulls from another.
type peerKeys struct {
	turn chan struct{} // holds one value, which its taker gives back
	link *link         // of who has the turn
}

// NewManager opens the socket. Nothing is read from it before Run.
func NewManager(cfg Config, deps Deps) (*Manager, error) {
	if deps.Self == "" || deps.Peers == nil || deps.PeerID == nil || deps.RelayAddr == nil ||
		deps.Local == nil || deps.Authorize == nil || deps.Logger == nil {
		return nil, fmt.Errorf("%w: a dependency is missing", ErrConfig)
	}
	if cfg.Advertise != "" {
		if _, _, err := net.SplitHostPort(cfg.Advertise); err != nil {
			return nil, fmt.Errorf("%w: advertised address: %w", ErrConfig, err)
		}
	}
	s, err := listen(context.Background(), cfg.ListenUDP)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	m, err := newManager(cfg.Advertise, s, deps)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return m, nil
}

func newManager(advertise string, s socket, deps Deps) (*Manager, error) {
	m := &Manager{
		deps:      deps,
		advertise: advertise,
		socket:    s,
		peers:     make(map[store.NodeID]*peerKeys),
		served:    make(map[store.NodeID]*link),
		pulls:     make(map[*pull]struct{}),
		flows:     make(map[flowKey]*flow),

		auditEvery: auditInterval,
	}
	m.batches.New = func() any { return new(sendBatch) }
	m.life, m.stop = context.WithCancel(context.Background())
	return m, m.stats.register(deps.Registerer, m)
}

// Addr is where other nodes send to: what belongs into this node's member
// record.
func (m *Manager) Addr() string {
	if m.advertise != "" {
		return m.advertise
	}
	return m.socket.addr().String()
}

// Register adds the relay's service to the node's RPC server.
func (m *Manager) Register(r grpc.ServiceRegistrar) {
	relaypb.RegisterRelayServer(r, &server{m: m})
}

// Run relays until ctx ends; then all pulls and flows end, and it returns when
// the pulls' goroutines are gone.
func (m *Manager) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, m.shutdown)()
	err := m.read()
	m.shutdown()
	m.tasks.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Close ends a Manager that is not run.
func (m *Manager) Close() error {
	m.shutdown()
	m.tasks.Wait()
	return nil
}

// shutdown ends everything that belongs to the Manager, without waiting.
func (m *Manager) shutdown() {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	m.mu.Unlock()
	if !first {
		return
	}
	m.stop()
	for _, p := range m.openPulls() {
		p.finish(ErrClosed)
	}
	_ = m.socket.close() // nobody is left to tell
}

func (m *Manager) openPulls() []*pull {
	m.mu.Lock()
	defer m.mu.Unlock()
	pulls := make([]*pull, 0, len(m.pulls))
	for p := range m.pulls {
		pulls = append(pulls, p)
	}
	return pulls
}

func (m *Manager) openFlows() []*flow {
	m.mu.Lock()
	defer m.mu.Unlock()
	flows := make([]*flow, 0, len(m.flows))
	for _, f := range m.flows {
		flows = append(flows, f)
	}
	return flows
}

// opener is the memory of the goroutine that reads the socket.
type opener struct {
	nonce [nonceLen]byte
	plain [maxFrame]byte
}

// read takes frames from the socket until it is closed.
func (m *Manager) read() error {
	var o opener
	frame := make([]byte, maxFrame+1) // a longer datagram shows by its length
	for {
		n, err := m.socket.read(frame)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			m.stats.drop(dropRead)
			select {
			case <-m.life.Done():
			case <-time.After(readPause):
			}
			continue
		}
		m.receive(&o, frame[:n])
	}
}

// receive takes one datagram, from whatever address: who made it shows when it
// opens.
func (m *Manager) receive(o *opener, frame []byte) {
	h, ok := parseHeader(frame)
	if !ok {
		m.stats.drop(dropMalformed)
		return
	}
	p, known := m.table.find(h.epoch, h.stream)
	switch {
	case !known:
		m.stats.drop(dropEpoch)
		return
	case p == nil:
		m.stats.drop(dropStream)
		return
	case (p.in != nil) != (h.kind == kindRTP):
		m.stats.drop(dropMalformed)
		return
	case !p.window.fresh(h.counter):
		m.stats.drop(dropReplay)
		return
	}
	if p.in != nil {
		m.receivePacket(o, p, h, frame)
	} else {
		m.receiveFeedback(o, p, h, frame)
	}
}

func (m *Manager) receivePacket(o *opener, p *port, h header, frame []byte) {
	packet := m.packets.Get()
	plain, err := open(packet.Buffer()[:0], p.link.in, &o.nonce, h, frame)
	if err != nil {
		packet.Release()
		m.stats.drop(dropForged)
		return
	}
	m.accepted(p, h, len(frame))
	if packet.Parse(len(plain)) != nil {
		packet.Release()
		m.stats.drop(dropMalformed)
		return
	}
	packet.Arrival = time.Now()
	p.in.take(packet)
}

func (m *Manager) receiveFeedback(o *opener, p *port, h header, frame []byte) {
	plain, err := open(o.plain[:0], p.link.in, &o.nonce, h, frame)
	if err != nil {
		m.stats.drop(dropForged)
		return
	}
	m.accepted(p, h, len(frame))
	ask := demand{layer: p.out}
	if h.kind == kindNACK {
		if ask.seqs = parseNACK(plain); len(ask.seqs) == 0 {
			m.stats.drop(dropMalformed)
			return
		}
	}
	p.out.flow.demand(ask)
}

func (m *Manager) accepted(p *port, h header, size int) {
	p.window.mark(h.counter)
	p.top.Store(p.window.top)
	p.accepted.Add(1)
	m.stats.packetsIn.Add(1)
	m.stats.bytesIn.Add(uint64(size))
}
