// Package udp is the node's port for media: all WebRTC connections of the node
// over one UDP port number.
//
//	out: Burst ─▶ messages of equal datagrams (UDP_SEGMENT) ─▶ sendmmsg ─▶ one of the sockets
//	     WriteTo of a connection (STUN, DTLS, RTCP) ──────────────────────▶ one of the sockets
//	in:  socket ─▶ recvmmsg ─▶ reader ─▶ mux: by address, or by the user name of a STUN request ─▶ queue of a connection, or its Receiver
//
// There is a socket for each core, which share the port number, where the system
// knows that; the kernel distributes what comes in, and the mux finds the
// connection whichever received it. One goroutine per socket reads, on Linux with
// a thread of its own; they end with Close. Nothing waits for a connection: what
// finds its queue full is lost.
package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// socketBuffer is for what all publishers send while the process pauses: a
	// packet that finds no room is lost, and voice is not asked for again. The
	// kernel may grant less.
	socketBuffer = 4 << 20
	// patience is how long a Burst waits when the kernel has no room. The
	// interface makes room by the megabyte meanwhile, if it works at all; who
	// waited longer would delay what comes next, and voice with it.
	patience = 10 * time.Millisecond
	// maxPatient is how many wait at once. Each is a thread and an arena.
	maxPatient = 32
	// readPause is between two attempts to read from a socket that fails.
	readPause = 10 * time.Millisecond
)

// Config is what a Port is told once.
type Config struct {
	// Address is "ip:port"; port 0 takes any.
	Address string
	// Sockets is how many there are, where several may share a port.
	Sockets    int
	Logger     *slog.Logger          // may be nil
	Registerer prometheus.Registerer // may be nil
}

// Port is the sockets of one port number.
type Port struct {
	log       *slog.Logger
	addr      netip.AddrPort
	sockets   []*socket
	next      atomic.Uint32 // socket for what sends
	bursts    sync.Pool
	singles   sync.Pool
	joining   joining
	patients  atomic.Int32 // who waits for room
	stats     stats
	metrics   *metrics
	mux       mux
	datagrams sync.Pool
	closed    chan struct{}
	once      sync.Once
	readers   sync.WaitGroup
}

// Listen opens the sockets and begins to read; Close ends it.
func Listen(ctx context.Context, cfg Config) (*Port, error) {
	p := &Port{log: cfg.Logger, closed: make(chan struct{})}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := p.open(ctx, cfg.Address, cfg.Sockets); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	local := p.sockets[0].addr
	p.addr = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	p.joining.off.Store(!p.sockets[0].joins())
	p.mux.init(p)
	p.datagrams.New = func() any { return new(datagram) }
	// The pools keep what was used at the core that used it, and its socket with it.
	p.bursts.New = func() any { return &Burst{port: p, out: newOutlet(p.anySocket())} }
	p.singles.New = func() any { return &single{out: newOutlet(p.anySocket())} }
	var err error
	if p.metrics, err = newMetrics(p, cfg.Registerer); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: %w", err), p.closeSockets())
	}
	for _, s := range p.sockets {
		p.readers.Go(func() { p.read(s) })
	}
	return p, nil
}

// open makes the sockets: several on one port, or one where that is refused.
func (p *Port) open(ctx context.Context, address string, n int) error {
	shared := shareable && n > 1
	first, err := open(ctx, address, shared)
	if err != nil && shared {
		shared = false
		first, err = open(ctx, address, false)
	}
	if err != nil {
		return err
	}
	p.sockets = []*socket{first}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errors.Join(err, p.closeSockets())
	}
	for shared && len(p.sockets) < n {
		s, err := open(ctx, net.JoinHostPort(host, fmt.Sprint(first.addr.Port())), true)
		if err != nil {
			return errors.Join(err, p.closeSockets())
		}
		p.sockets = append(p.sockets, s)
	}
	return nil
}

func (p *Port) anySocket() *socket { return p.sockets[int(p.next.Add(1))%len(p.sockets)] }

// listen opens a socket with buffers as they should be.
func listen(ctx context.Context, lc net.ListenConfig, address string) (*net.UDPConn, error) {
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%q is no UDP address", address), pc.Close())
	}
	_ = conn.SetReadBuffer(socketBuffer)  // a smaller one works as well
	_ = conn.SetWriteBuffer(socketBuffer) // likewise
	return conn, nil
}

// Addr is the address of the sockets.
func (p *Port) Addr() netip.AddrPort { return p.addr }

// Close closes the sockets and all connections, and returns when the goroutines
// are gone.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.closeSockets()
		p.mux.close()
		p.metrics.unregister()
	})
	p.readers.Wait()
	return err
}

func (p *Port) closeSockets() error {
	var errs []error
	for _, s := range p.sockets {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// single sends one datagram.
type single struct {
	out     outlet
	message [1]message
}

// write sends a single datagram at once. What finds no room is lost, as it may
// be anywhere on its way, and is no error.
func (p *Port) write(b []byte, to netip.AddrPort) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s := p.singles.Get().(*single)
	defer p.singles.Put(s)
	s.message[0] = message{to: to, bytes: len(b), size: len(b), count: 1}
	_, err := s.out.send(b, s.message[:])
	if errors.Is(err, syscall.EAGAIN) && p.patient(s.out) {
		_, err = s.out.send(b, s.message[:])
	}
	switch {
	case err == nil:
		p.stats.single.Add(1)
	case errors.Is(err, syscall.EAGAIN):
		p.stats.full.Add(1)
	default:
		return 0, fmt.Errorf("udp: %w", err)
	}
	return len(b), nil
}

// patient waits for room in the kernel.
func (p *Port) patient(o outlet) bool {
	defer p.patients.Add(-1)
	return p.patients.Add(1) <= maxPatient && o.wait()
}

// refused notes that joined datagrams to an address were refused, where single
// ones were not; all of them, or just these.
func (p *Port) refused(to netip.AddrPort, all bool) {
	p.stats.refusals.Add(1)
	if all && p.joining.refuse(to) {
		p.log.Warn("the kernel or the network interface refuses to take datagrams together; each is sent on its own, which costs more of the processor")
	}
}

// read runs until the socket is closed.
func (p *Port) read(s *socket) {
	r, d := newReader(s), &dispatcher{port: p}
	var batch [readBatch]*datagram
	for i := range batch {
		batch[i] = p.datagram()
	}
	for {
		n, err := r.read(&batch)
		select {
		case <-p.closed: // which is also a way to come to the end of read
			return
		default:
		}
		d.dispatch(batch[:n])
		if err != nil {
			time.Sleep(readPause)
		}
	}
}

func (p *Port) datagram() *datagram { return p.datagrams.Get().(*datagram) }
