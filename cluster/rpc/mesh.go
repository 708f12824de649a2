package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"

	"github.com/talkd/talkd/store"
)

const (
	dialTimeout = 2 * time.Second
	// A node that comes back is found again within a second.
	backoffMin = 50 * time.Millisecond
	backoffMax = time.Second
	// A peer that hangs without closing its sockets is noticed within
	// keepaliveTime + keepaliveTimeout; gossip is quicker, see Drop. 10 s is
	// the least that gRPC's client accepts.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	// stopTimeout is what calls in flight get when the mesh stops.
	stopTimeout = 500 * time.Millisecond
	maxMessage  = 4 << 20
)

// Dialer opens TCP connections; *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// Config is what a Mesh needs.
type Config struct {
	Self     store.NodeID
	Listener net.Listener // closed by Run, or by Close without Run
	Identity Identity
	// Resolve is asked for a node's address at each connect.
	Resolve func(store.NodeID) (addr string, ok bool)
	// Banished tells whether a node was removed; nil: none was. Such a node may
	// call the methods of Told and nothing else.
	Banished   func(id store.NodeID, key string) bool
	Told       []string
	Join       JoinHandler
	Dialer     Dialer
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Mesh is this node's end of the connections between all nodes.
type Mesh struct {
	config Config
	conns  conns
	door   door
	mux    *mux
	server *grpc.Server

	mu      sync.Mutex // guards what follows
	clients map[store.NodeID]*grpc.ClientConn
	closed  bool
}

// New makes a mesh; it answers nobody before Run.
func New(c Config) *Mesh {
	m := &Mesh{config: c, clients: make(map[store.NodeID]*grpc.ClientConn)}
	m.door = newDoor(c.Banished, c.Told)
	metrics := newMetrics(c.Registerer, &m.conns)
	m.mux = newMux(c.Listener, serverTLS(c.Identity), c.Join, m.door, &m.conns, c.Logger, metrics)
	r := recovery{log: c.Logger, metrics: metrics}
	m.server = grpc.NewServer(
		grpc.Creds(serverCredentials{}),
		grpc.ChainUnaryInterceptor(r.unary, m.door.unary),
		grpc.ChainStreamInterceptor(r.stream, m.door.stream),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
	)
	return m
}

// Register adds services to the gRPC server. How many calls are open at the
// same time between two nodes is bounded by what opens them, not here: all
// services share one connection, and a limit that fronts or pulls reach would
// hold up the renewal of a lease. It must come before Run.
func (m *Mesh) Register(register func(grpc.ServiceRegistrar)) { register(m.server) }

// Run serves the port until ctx ends, then closes every connection.
func (m *Mesh) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { _ = m.server.Serve(m.mux.rpc) }) // ends by Stop, or when the mux closes its listener
	err := m.mux.run(ctx)
	m.shutdown()
	wg.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Close releases a mesh that was never run.
func (m *Mesh) Close() error {
	m.shutdown()
	return m.config.Listener.Close()
}

func (m *Mesh) shutdown() {
	m.mu.Lock()
	m.closed = true
	clients := m.clients
	m.clients = nil
	m.mu.Unlock()

	stopped := make(chan struct{})
	go func() {
		m.server.GracefulStop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopTimeout):
		m.server.Stop()
		<-stopped
	}
	for _, c := range clients {
		_ = c.Close() // only ever fails when it is closed
	}
	m.conns.closeAll()
}

// Dial gives the connection to a node. It is shared and connects by itself;
// callers do not close it.
func (m *Mesh) Dial(id store.NodeID) (grpc.ClientConnInterface, error) {
	return m.client(id)
}

func (m *Mesh) client(id store.NodeID) (*grpc.ClientConn, error) {
	if _, err := store.ParseNodeID(string(id)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if c, ok := m.clients[id]; ok {
		return c, nil
	}
	c, err := m.newClient(id, func(ctx context.Context) (net.Conn, error) {
		addr, ok := m.config.Resolve(id)
		if !ok {
			return nil, fmt.Errorf("%w: %s", ErrUnknownNode, id)
		}
		return m.dialTCP(ctx, addr, id)
	})
	if err != nil {
		return nil, err
	}
	m.clients[id] = c
	return c, nil
}

// Connected waits until the connection to a node is up. What is called before
// that may have been sent or not; what is called after an error here was not.
func (m *Mesh) Connected(ctx context.Context, id store.NodeID) (grpc.ClientConnInterface, error) {
	c, err := m.client(id)
	if err != nil {
		return nil, err
	}
	for {
		state := c.GetState()
		switch state {
		case connectivity.Ready:
			return c, nil
		case connectivity.Shutdown:
			return nil, ErrClosed
		case connectivity.Idle:
			c.Connect()
		}
		if !c.WaitForStateChange(ctx, state) {
			return nil, fmt.Errorf("connecting to %s: %w", id, ctx.Err())
		}
	}
}

// DialAddr connects to whichever node of the cluster is at an address. The
// caller closes it.
func (m *Mesh) DialAddr(addr string) (*grpc.ClientConn, error) {
	return m.newClient("", func(ctx context.Context) (net.Conn, error) { return m.dialTCP(ctx, addr, "") })
}

func (m *Mesh) newClient(id store.NodeID, dial func(context.Context) (net.Conn, error)) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+string(id),
		grpc.WithTransportCredentials(&clientCredentials{identity: m.config.Identity, node: id, door: m.door}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: backoffMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: backoffMax},
			MinConnectTimeout: dialTimeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithIdleTimeout(0), // the next call should not wait for a handshake
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
}

func (m *Mesh) dialTCP(ctx context.Context, addr string, id store.NodeID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := m.config.Dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s, ok := m.conns.add(raw, id)
	if !ok {
		_ = raw.Close() // shutting down
		return nil, ErrClosed
	}
	return s, nil
}

// RaftListener accepts the connections that speak Raft. They are *Conn. A node
// that does not serve it closes it, and so it is with HTTPListener.
func (m *Mesh) RaftListener() net.Listener { return m.mux.raft }

// HTTPListener accepts the connections that speak HTTP. They are *Conn.
func (m *Mesh) HTTPListener() net.Listener { return m.mux.http }

// DialRaft opens a connection for Raft to a node.
func (m *Mesh) DialRaft(ctx context.Context, id store.NodeID) (net.Conn, error) {
	return m.dial(ctx, id, ProtoRaft)
}

// DialHTTP opens a connection for HTTP to a node.
func (m *Mesh) DialHTTP(ctx context.Context, id store.NodeID) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return m.dial(ctx, id, ProtoHTTP)
}

func (m *Mesh) dial(ctx context.Context, id store.NodeID, proto string) (net.Conn, error) {
	addr, ok := m.config.Resolve(id)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	config, err := clientTLS(m.config.Identity, m.door, id, proto)
	if err != nil {
		return nil, err
	}
	raw, err := m.dialTCP(ctx, addr, id)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says more
		return nil, err
	}
	return &Conn{Conn: conn, Peer: id}, nil
}

// Drop closes the sockets to and from a node that was found dead, so that
// calls to it fail now and not when TCP gives up. They connect again by
// themselves.
func (m *Mesh) Drop(id store.NodeID) { m.conns.closePeer(id) }

// DropBut closes the sockets to and from all nodes but those that are to be
// kept.
func (m *Mesh) DropBut(keep func(store.NodeID) bool) {
	for _, id := range m.conns.peers() {
		if !keep(id) {
			m.Drop(id)
		}
	}
}

// Forget drops a node that has left the cluster.
func (m *Mesh) Forget(id store.NodeID) {
	m.mu.Lock()
	c := m.clients[id]
	delete(m.clients, id)
	m.mu.Unlock()
	if c != nil {
		_ = c.Close() // only ever fails when it is closed
	}
	m.Drop(id)
}
