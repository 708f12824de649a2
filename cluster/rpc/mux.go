package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits of what a stranger can make the port hold.
const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds connections that have not shown who they are.
	maxHandshakes      = 256
	maxHandshakesPerIP = 32
	// maxJoins bounds nodes that join at the same time. Who is turned away asks
	// again.
	maxJoins      = 32
	maxJoinsPerIP = 4
	joinTimeout   = 15 * time.Second
	// backlog bounds connections that nobody has accepted yet.
	backlog = 16
)

// JoinHandler serves one node that joins; the context ends with the
// connection's deadline. The mux closes the connection afterwards.
type JoinHandler func(ctx context.Context, conn net.Conn)

// mux takes the port's connections apart.
type mux struct {
	listener net.Listener
	config   *tls.Config
	join     JoinHandler
	door     door
	conns    *conns
	log      *slog.Logger
	metrics  *metrics

	raft, rpc, http   *chanListener
	handshakes, joins *quota
}

func newMux(l net.Listener, config *tls.Config, join JoinHandler, d door, c *conns, log *slog.Logger, m *metrics) *mux {
	return &mux{
		listener: l, config: config, join: join, door: d, conns: c, log: log, metrics: m,
		raft: newChanListener(l.Addr()), rpc: newChanListener(l.Addr()), http: newChanListener(l.Addr()),
		handshakes: newQuota(maxHandshakes, maxHandshakesPerIP), joins: newQuota(maxJoins, maxJoinsPerIP),
	}
}

// run accepts until ctx ends, and returns when all its goroutines are gone.
func (m *mux) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer m.raft.Close()
	defer m.rpc.Close()
	defer m.http.Close()
	stop := context.AfterFunc(ctx, func() { _ = m.listener.Close() }) // Accept reports it
	defer stop()

	for delay := time.Duration(0); ; {
		raw, err := m.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return ctx.Err()
			}
			// Out of file descriptors, most likely: it passes.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			m.log.Warn("accepting failed", "error", err, "retry_in", delay)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(delay):
			}
			continue
		}
		delay = 0
		ip := remoteIP(raw)
		s, ok := m.conns.add(raw, "")
		if !ok || !m.handshakes.take(ip) {
			m.metrics.refused.WithLabelValues("full").Inc()
			if s != nil {
				raw = s
			}
			_ = raw.Close() // a stranger too many
			continue
		}
		wg.Go(func() { m.serve(ctx, s, ip) })
	}
}

// serve does the handshake and hands the connection on.
func (m *mux) serve(ctx context.Context, s *socket, ip netip.Addr) {
	conn := tls.Server(s, m.config)
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := conn.HandshakeContext(hctx)
	cancel()
	m.handshakes.leave(ip)
	if err != nil {
		m.metrics.refused.WithLabelValues("handshake").Inc()
		m.log.Debug("handshake failed", "error", WithoutAddress(err))
		_ = s.Close() // it says nothing any more
		return
	}
	state := conn.ConnectionState()
	m.metrics.accepted.WithLabelValues(protoLabel(state.NegotiatedProtocol)).Inc()
	switch state.NegotiatedProtocol {
	case ProtoRaft:
		m.hand(ctx, m.raft, s, conn)
	case ProtoRPC:
		m.hand(ctx, m.rpc, s, conn)
	case ProtoHTTP:
		m.hand(ctx, m.http, s, conn)
	case ProtoJoin:
		m.serveJoin(ctx, conn, ip)
	default: // a client without ALPN
		m.metrics.refused.WithLabelValues("protocol").Inc()
		_ = conn.Close() // it has shown a certificate but wants nothing we have
	}
}

func (m *mux) hand(ctx context.Context, to *chanListener, s *socket, conn *tls.Conn) {
	cert := conn.ConnectionState().PeerCertificates[0]
	id, err := CertificateNode(cert)
	if err != nil { // VerifyConnection has seen to it
		_ = conn.Close() // nothing was exchanged
		return
	}
	// Who comes for a service may yet ask what has happened.
	if to != m.rpc && m.door.shut(id, cert) {
		m.metrics.refused.WithLabelValues("removed").Inc()
		_ = conn.Close() // it is told elsewhere
		return
	}
	m.conns.name(s, id)
	if !to.put(ctx, &Conn{Conn: conn, Peer: id}) {
		_ = s.Close() // shutting down
	}
}

func (m *mux) serveJoin(ctx context.Context, conn *tls.Conn, ip netip.Addr) {
	defer conn.Close()
	if !m.joins.take(ip) {
		m.metrics.refused.WithLabelValues("joins").Inc()
		return
	}
	defer m.joins.leave(ip)
	if m.join == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.NetConn().Close() }) // ends reads that wait
	defer stop()
	m.join(ctx, &Conn{Conn: conn})
}

func protoLabel(proto string) string {
	if proto == "" {
		return "none"
	}
	return proto
}

// chanListener hands connections of one protocol to their server.
type chanListener struct {
	addr net.Addr
	ch   chan net.Conn
	once sync.Once
	done chan struct{}
}

func newChanListener(addr net.Addr) *chanListener {
	return &chanListener{addr: addr, ch: make(chan net.Conn, backlog), done: make(chan struct{})}
}

// put waits while the server is slow to accept; false when it is gone.
func (l *chanListener) put(ctx context.Context, c net.Conn) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	select {
	case l.ch <- c:
		return true
	case <-l.done:
		return false
	case <-ctx.Done():
		return false
	}
}

// Accept waits for the next connection.
func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // what waits still is closed with the mesh
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.ch:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. The port stays open for the other protocols.
func (l *chanListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is the address of the port.
func (l *chanListener) Addr() net.Addr { return l.addr }
