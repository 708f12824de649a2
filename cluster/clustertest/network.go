package clustertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// ErrCut is what a node sees of a link that is down.
var ErrCut = errors.New("clustertest: link is cut")

// Network carries all that the nodes of a kit send each other, in memory. It
// has no goroutines, only timers, so that it works in a synctest bubble too.
//
// What goes over a cut link is lost, what goes over a held one comes later.
type Network struct {
	mu      sync.Mutex // guards what follows
	ports   map[netip.AddrPort]*port
	last    uint16
	cut     map[link]bool
	cutIf   map[link]func() bool
	held    map[link]bool
	mute    map[store.NodeID]bool // in gossip
	down    map[store.NodeID]bool
	quality Quality
	dice    *rand.Rand
	pipes   map[*pipe]struct{}
	late    []datagram    // gossip that is held
	changes chan struct{} // closed and replaced when a link gets better
}

// Quality is how good all links are. The zero value is perfect.
type Quality struct {
	// Delay is how long everything is under way at least, and up to Jitter
	// more. Packets of gossip overtake each other thereby.
	Delay, Jitter time.Duration
	// Loss and Duplicate are the shares of packets of gossip that are lost and
	// come twice. What TCP carries is repaired after retransmitAfter.
	Loss, Duplicate float64
}

// retransmitAfter is Linux' least.
const retransmitAfter = 200 * time.Millisecond

type link struct{ from, to store.NodeID }

// port is what listens at an address.
type port struct {
	owner  store.NodeID
	addr   netip.AddrPort
	accept func(net.Conn) bool // false: nobody has room for it; under the network's lock
	packet func(*memberlist.Packet)
}

const (
	firstPort = 20_000
	dialBack  = 2 // packets until a connection is there
)

func newNetwork() *Network {
	return &Network{
		ports: make(map[netip.AddrPort]*port), last: firstPort,
		cut: make(map[link]bool), cutIf: make(map[link]func() bool), held: make(map[link]bool),
		mute: make(map[store.NodeID]bool), down: make(map[store.NodeID]bool),
		dice:  rand.New(rand.NewPCG(1, 1)),
		pipes: make(map[*pipe]struct{}), changes: make(chan struct{}),
	}
}

// SetQuality makes all links as good as this; seed throws the dice.
func (n *Network) SetQuality(q Quality, seed uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.quality, n.dice = q, rand.New(rand.NewPCG(seed, seed))
}

// CutOneWay loses what from sends to to, silently.
func (n *Network) CutOneWay(from, to store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{from, to}] = true
}

// CutOnce loses what from sends to to from the moment at which the condition
// holds, silently. It is asked whenever something is to pass.
func (n *Network) CutOnce(from, to store.NodeID, holds func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutIf[link{from, to}] = holds
}

// Cut loses everything between two nodes, silently.
func (n *Network) Cut(a, b store.NodeID) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// Isolate cuts a node off from all that the network knows.
func (n *Network) Isolate(id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.around(id, func(l link) { n.cut[l] = true })
}

// CutGossip loses the gossip from and to a node. All else passes.
func (n *Network) CutGossip(id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute[id] = true
}

// Hold keeps back what goes from and to a node until Heal, like a machine that
// hangs does.
func (n *Network) Hold(id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.around(id, func(l link) { n.held[l] = true })
}

// around does something to all links of a node. The caller holds the lock.
func (n *Network) around(id store.NodeID, do func(link)) {
	for _, p := range n.ports {
		if p.owner != id {
			do(link{id, p.owner})
			do(link{p.owner, id})
		}
	}
}

// Heal restores all links. Connections that lost something break, what was held
// arrives.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.cutIf)
	clear(n.held)
	clear(n.mute)
	for p := range n.pipes {
		if p.broken {
			p.reset()
		}
		p.wake()
	}
	late := n.late
	n.late = nil
	for _, d := range late {
		n.deliver(d)
	}
	n.better()
}

// better tells who waits for a link. The caller holds the lock.
func (n *Network) better() {
	close(n.changes)
	n.changes = make(chan struct{})
}

// setDown makes a process vanish: its connections break, and its machine
// refuses new ones.
func (n *Network) setDown(id store.NodeID, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[id] = down
	if !down {
		return
	}
	for p := range n.pipes {
		for _, e := range p.ends {
			if e.owner == id {
				e.close()
			}
		}
	}
}

// under is how long something is under way. The caller holds the lock.
func (n *Network) under() time.Duration {
	d := n.quality.Delay
	if n.quality.Jitter > 0 {
		d += time.Duration(n.dice.Int64N(int64(n.quality.Jitter)))
	}
	return d
}

// conditions finds out whether a link's condition holds now, and cuts it then.
func (n *Network) conditions(l link) {
	n.mu.Lock()
	holds := n.cutIf[l]
	n.mu.Unlock()
	if holds != nil && holds() { // it may ask the nodes: not under the lock
		n.CutOneWay(l.from, l.to)
	}
}

// Host is the network as a node sees it.
func (n *Network) Host(id store.NodeID) cluster.Network { return &host{n: n, id: id} }

type host struct {
	n  *Network
	id store.NodeID
}

// bind takes a port. The caller holds the lock.
func (h *host) bind(addr string, p *port) error {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	if want.Port() == 0 {
		h.n.last++
		want = netip.AddrPortFrom(want.Addr(), h.n.last)
	}
	if _, ok := h.n.ports[want]; ok {
		return fmt.Errorf("listen %s: %w", want, syscall.EADDRINUSE)
	}
	p.owner, p.addr = h.id, want
	h.n.ports[want] = p
	return nil
}

// free gives a port back.
func (n *Network) free(p *port) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[p.addr] == p {
		delete(n.ports, p.addr)
	}
}

// DialContext connects, or waits like one who gets no answer.
func (h *host) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	for {
		h.n.mu.Lock()
		p := h.n.ports[to]
		if p == nil || h.n.down[p.owner] || h.n.down[h.id] {
			h.n.mu.Unlock()
			return nil, fmt.Errorf("dial %s: %w", addr, syscall.ECONNREFUSED)
		}
		there, back := link{h.id, p.owner}, link{p.owner, h.id}
		silent := h.n.cut[there] || h.n.cut[back] || h.n.held[there] || h.n.held[back]
		changes, takes := h.n.changes, time.Duration(0)
		if !silent {
			takes = dialBack * h.n.under()
		}
		h.n.mu.Unlock()
		if !silent {
			if takes > 0 {
				if err := sleep(ctx, takes); err != nil {
					return nil, err
				}
			}
			return h.connect(p)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changes:
		}
	}
}

// connect hands one end of a new connection to who listens.
func (h *host) connect(to *port) (net.Conn, error) {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.n.last++ // wraps: these ports are for show
	p := newPipe(h.n, [2]store.NodeID{h.id, to.owner}, [2]netip.AddrPort{netip.AddrPortFrom(to.addr.Addr(), h.n.last), to.addr})
	if h.n.ports[to.addr] != to || h.n.down[to.owner] || !to.accept(p.ends[1]) {
		return nil, fmt.Errorf("dial %s: %w", to.addr, syscall.ECONNREFUSED)
	}
	h.n.pipes[p] = struct{}{}
	return p.ends[0], nil
}

// Listen takes a TCP port.
func (h *host) Listen(addr string) (net.Listener, error) {
	l := &listener{n: h.n, conns: make(chan net.Conn, backlog), done: make(chan struct{})}
	l.port.accept = func(c net.Conn) bool {
		select {
		case l.conns <- c:
			return true
		default:
			return false
		}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if err := h.bind(addr, &l.port); err != nil {
		return nil, err
	}
	return l, nil
}

const backlog = 128

type listener struct {
	n     *Network
	port  port
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close gives the port back.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.n.free(&l.port)
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				_ = c.Close() // nobody accepts it any more
				continue
			default:
			}
			return
		}
	})
	return nil
}

// Addr is the address of the port.
func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.port.addr) }

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
