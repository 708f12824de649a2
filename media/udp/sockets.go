// Package udp sends and receives media by UDP, in as few calls of the kernel as
// there can be.
//
// Port is for all WebRTC connections of the node, over one port number:
//
//	out: Burst ─▶ messages of equal datagrams (UDP_SEGMENT) ─▶ sendmmsg ─▶ one of the sockets
//	     WriteTo of a connection (STUN, DTLS, RTCP) ──────────────────────▶ one of the sockets
//	in:  socket ─▶ recvmmsg ─▶ reader ─▶ mux: by address, or by the user name of a STUN request ─▶ queue of a connection, or its Receiver
//
// Sockets are what is below it, and all there is between nodes:
//
//	out: Burst, as above
//	in:  socket ─▶ recvmmsg of messages that the kernel has joined (UDP_GRO) ─▶ Reader
//
// There is a socket for each core, which share the port number, where the system
// knows that; the kernel distributes what comes in, and the mux finds the
// connection whichever received it. One goroutine per socket of a Port reads; they
// end with Close. Nothing waits for a connection: what finds its queue full is
// lost.
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

// Config is what Sockets are told once.
type Config struct {
	// Address is "ip:port"; port 0 takes any.
	Address string
	// Sockets is how many there are, where several may share a port.
	Sockets    int
	Logger     *slog.Logger          // may be nil
	Registerer prometheus.Registerer // may be nil
}

// Sockets are those of one port number.
type Sockets struct {
	log      *slog.Logger
	addr     netip.AddrPort
	sockets  []*socket
	next     atomic.Uint32 // socket for what sends
	bursts   sync.Pool
	joining  joining
	patients atomic.Int32 // who waits for room
	stats    stats
	metrics  *metrics
}

// Open opens the sockets; Close ends it. The names of the metrics begin with
// those of the subsystem.
func Open(ctx context.Context, subsystem string, cfg Config) (*Sockets, error) {
	s := &Sockets{log: cfg.Logger, metrics: &metrics{subsystem: subsystem, registerer: cfg.Registerer}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(ctx, cfg.Address, cfg.Sockets); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	local := s.sockets[0].addr
	s.addr = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	s.joining.off.Store(!s.sockets[0].joins())
	// The pool keeps a Burst at the core that used it, and its socket with it.
	s.bursts.New = func() any { return &Burst{sockets: s, out: newOutlet(s.anySocket())} }
	if err := s.metrics.register(s.collectors()...); err != nil {
		return nil, errors.Join(fmt.Errorf("udp: %w", err), s.closeSockets())
	}
	return s, nil
}

// open makes the sockets: several on one port, or one where that is refused.
func (s *Sockets) open(ctx context.Context, address string, n int) error {
	shared := shareable && n > 1
	first, err := open(ctx, address, shared)
	if err != nil && shared {
		shared = false
		first, err = open(ctx, address, false)
	}
	if err != nil {
		return err
	}
	s.sockets = []*socket{first}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errors.Join(err, s.closeSockets())
	}
	for shared && len(s.sockets) < n {
		one, err := open(ctx, net.JoinHostPort(host, fmt.Sprint(first.addr.Port())), true)
		if err != nil {
			return errors.Join(err, s.closeSockets())
		}
		s.sockets = append(s.sockets, one)
	}
	return nil
}

func (s *Sockets) anySocket() *socket { return s.sockets[int(s.next.Add(1))%len(s.sockets)] }

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
func (s *Sockets) Addr() netip.AddrPort { return s.addr }

// Sent is what the kernel has taken of all Bursts that were flushed.
func (s *Sockets) Sent() (datagrams, bytes uint64) {
	return s.stats.datagrams.Load(), s.stats.bytes.Load()
}

// Close closes the sockets; what reads them returns net.ErrClosed.
func (s *Sockets) Close() error {
	s.metrics.unregister()
	return s.closeSockets()
}

func (s *Sockets) closeSockets() error {
	var errs []error
	for _, one := range s.sockets {
		errs = append(errs, one.close())
	}
	return errors.Join(errs...)
}

// patient waits for room in the kernel.
func (s *Sockets) patient(o outlet) bool {
	defer s.patients.Add(-1)
	return s.patients.Add(1) <= maxPatient && o.wait()
}

// refused notes that joined datagrams to an address were refused, where single
// ones were not; all of them, or just these.
func (s *Sockets) refused(to netip.AddrPort, all bool) {
	s.stats.refusals.Add(1)
	if all && s.joining.refuse(to) {
		s.log.Warn("the kernel or the network interface refuses to take datagrams together; each is sent on its own, which costs more of the processor")
	}
}
