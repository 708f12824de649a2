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

// Manager is this node's end of all relays. It meets media.Remote.
type Manager struct {
	deps      Deps
	advertise string
	socket    socket
	table     table
	stats     stats
	packets   media.Pool

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
	s, err := listen(context.Background(), cfg.ListenUDP, deps.Logger, deps.Registerer)
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
