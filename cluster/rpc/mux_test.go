package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/store"
)

// Who is accepted as a node, and who is not. The server's view: what a client
// gets that shows this certificate.
func TestServerVerifies(t *testing.T) {
	trusted, foreign := newCA(t), newCA(t)
	book := new(addresses)
	server := run(t, "server", trusted.node("server"), book)
	wrongUsage := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	tests := []struct {
		name string
		cert *tls.Certificate
		ok   bool
	}{
		{"a node", trusted.leaf(nil, NodeURI("n1")), true},
		{"no certificate", nil, false},
		{"a node of another cluster", foreign.leaf(nil, NodeURI("n1")), false},
		{"a certificate without a name", trusted.leaf(nil), false},
		{"a certificate of two nodes", trusted.leaf(nil, NodeURI("n1"), NodeURI("n2")), false},
		{"another scheme", trusted.leaf(nil, uri("https://node/n1")), false},
		{"another host", trusted.leaf(nil, uri("talkd://room/n1")), false},
		{"a port", trusted.leaf(nil, uri("talkd://node:1/n1")), false},
		{"a query", trusted.leaf(nil, uri("talkd://node/n1?n2")), false},
		{"a bad node id", trusted.leaf(nil, uri("talkd://node/N1")), false},
		{"a path below", trusted.leaf(nil, uri("talkd://node/n1/n2")), false},
		{"a server's certificate only", trusted.leaf(wrongUsage, NodeURI("n1")), false},
		{"an expired certificate", trusted.leaf(expired, NodeURI("n1")), false},
		{"a certificate of tomorrow", trusted.leaf(early, NodeURI("n1")), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{ProtoRaft}}
			if tt.cert != nil {
				config.Certificates = []tls.Certificate{*tt.cert}
			}
			conn := dialTLS(t, server, config)
			// Under TLS 1.3 the client learns from its first read what the
			// server thinks of it.
			if _, err := conn.Write([]byte("x")); err != nil && tt.ok {
				t.Fatal(err)
			}
			if tt.ok {
				in, err := server.RaftListener().Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				if in.(*Conn).Peer != "n1" {
					t.Errorf("accepted as %q", in.(*Conn).Peer)
				}
				return
			}
			expectEnd(t, conn)
		})
	}
	select {
	case c := <-server.mux.raft.ch:
		t.Errorf("a stranger got through: %v", c.(*Conn).Peer)
	default:
	}
}

func dialTLS(t testing.TB, to *end, config *tls.Config) *tls.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: config}).DialContext(within(t), "tcp", to.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*tls.Conn)
}

// expectEnd waits until the other end hangs up, without a word.
func expectEnd(t testing.TB, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil || n > 0 || isTimeout(err) {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

// The client's view: whoever answers at the address must be the node that was
// dialled.
func TestClientVerifies(t *testing.T) {
	trusted, foreign := newCA(t), newCA(t)
	book := new(addresses)
	a := run(t, "a", trusted.node("a"), book)
	run(t, "right", trusted.node("right"), book)
	impostor := run(t, "impostor", trusted.node("impostor"), book)
	stranger := run(t, "stranger", foreign.node("wrong"), book)
	clientOnly := trusted.leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, NodeURI("client"))
	run(t, "client", &credential{cert: clientOnly, roots: trusted.pool()}, book)
	run(t, "unjoined", new(credential), book)
	book.set("wrong", impostor.Addr().String())
	book.set("foreign", stranger.Addr().String())

	tests := []struct {
		node store.NodeID
		want error // nil: any error, if not ok
		ok   bool
	}{
		{"right", nil, true},
		{"wrong", ErrWrongPeer, false},
		{"foreign", ErrBadPeer, false},
		{"client", ErrBadPeer, false},
		{"unjoined", nil, false},
	}
	for _, tt := range tests {
		conn, err := a.DialRaft(within(t), tt.node)
		if (err == nil) != tt.ok || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("Raft to %s: %v, want %v", tt.node, err, tt.want)
		}
		if err == nil {
			conn.Close()
		}
		if err := check(within(t), a, tt.node); (err == nil) != tt.ok || err != nil && status.Code(err) != codes.Unavailable {
			t.Errorf("a call to %s: %v", tt.node, err)
		}
	}
	for _, e := range []*end{impostor, stranger} {
		select {
		case id := <-e.calls.peers:
			t.Errorf("%s was called by %s", e.id, id)
		default:
		}
	}
	if n := a.conns.len(); n > 2 { // right's client, and the end of right's Raft connection is closed
		t.Errorf("%d connections are kept", n)
	}
}

// A node that has not joined yet calls nobody.
func TestNoIdentity(t *testing.T) {
	trusted, book := newCA(t), new(addresses)
	run(t, "a", trusted.node("a"), book)
	b := run(t, "b", new(credential), book)
	if _, err := b.DialRaft(within(t), "a"); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("Raft: %v", err)
	}
	if err := check(within(t), b, "a"); status.Code(err) != codes.Unavailable {
		t.Errorf("a call: %v", err)
	}
}

// TLS below 1.3 is not spoken.
func TestOldTLS(t *testing.T) {
	ca := newCA(t)
	server := run(t, "a", ca.node("a"), new(addresses))
	d := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, NextProtos: []string{ProtoJoin}}}
	if c, err := d.DialContext(within(t), "tcp", server.Addr().String()); err == nil {
		c.Close()
		t.Error("TLS 1.2 is accepted")
	}
}

// What each choice of protocols gets, with and without a certificate.
func TestProtocols(t *testing.T) {
	ca := newCA(t)
	cert := ca.leaf(nil, NodeURI("n1"))
	joined := make(chan store.NodeID, 8)
	reg := prometheus.NewRegistry()
	server := run(t, "a", ca.node("a"), new(addresses), func(c *Config) {
		c.Registerer = reg
		c.Join = func(_ context.Context, conn net.Conn) {
			joined <- conn.(*Conn).Peer
			_, _ = conn.Write([]byte("welcome\n"))
		}
	})
	tests := []struct {
		name   string
		protos []string
		cert   bool
		join   bool
		refuse bool // already in the handshake
	}{
		{"join", []string{ProtoJoin}, false, true, false},
		{"join with a certificate is still only a join", []string{ProtoJoin}, true, true, false},
		{"join first", []string{ProtoJoin, ProtoRaft}, false, true, false},
		{"join last", []string{ProtoRPC, ProtoJoin}, true, true, false},
		{"rpc without certificate", []string{ProtoRPC}, false, false, false},
		{"nothing", nil, true, false, false},
		{"nothing without certificate", nil, false, false, false},
		{"something else", []string{"h2"}, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: tt.protos}
			if tt.cert {
				config.Certificates = []tls.Certificate{*cert}
			}
			conn, err := (&tls.Dialer{Config: config}).DialContext(within(t), "tcp", server.Addr().String())
			if (err != nil) != tt.refuse {
				t.Fatalf("handshake: %v", err)
			}
			if err != nil {
				return
			}
			defer conn.Close()
			if !tt.join {
				expectEnd(t, conn)
				return
			}
			if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != ProtoJoin {
				t.Errorf("negotiated %q", got)
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "welcome\n" {
				t.Errorf("read %q, %v", line, err)
			}
			if peer := <-joined; peer != "" {
				t.Errorf("the joining node is taken for %q", peer)
			}
			expectEnd(t, conn)
		})
	}
	server.stop()
	want := map[string]float64{
		"accepted none": 1, "accepted talkd-join": 4, "refused handshake": 3, "refused protocol": 1, "open": 0, "panics": 0,
	}
	if got := measured(t, reg); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// measured reads the metrics of the mesh, in short.
func measured(t testing.TB, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if g := m.GetGauge(); g != nil {
				got["open"] = g.GetValue()
				continue
			}
			if len(m.GetLabel()) == 0 {
				got["panics"] = m.GetCounter().GetValue()
				continue
			}
			name, _, _ := strings.Cut(strings.TrimPrefix(f.GetName(), "talkd_rpc_connections_"), "_")
			got[name+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return got
}

// A node without a join handler hangs up.
func TestNobodyJoins(t *testing.T) {
	server := run(t, "a", newCA(t).node("a"), new(addresses))
	expectEnd(t, dialTLS(t, server, joinTLS()))
}

func joinTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{ProtoJoin}}
}

// At most maxJoinsPerIP of one address join at a time; stopping ends those that
// hang.
func TestJoinsAreBounded(t *testing.T) {
	hanging := make(chan struct{}, maxJoinsPerIP)
	ended := make(chan error, maxJoinsPerIP)
	server := run(t, "a", newCA(t).node("a"), new(addresses), func(c *Config) {
		c.Join = func(ctx context.Context, conn net.Conn) {
			hanging <- struct{}{}
			_, err := conn.Read(make([]byte, 1)) // does not look at ctx
			ended <- err
		}
	})
	for range maxJoinsPerIP {
		dialTLS(t, server, joinTLS())
		<-hanging
	}
	expectEnd(t, dialTLS(t, server, joinTLS()))
	server.stop()
	for range maxJoinsPerIP {
		if err := <-ended; err == nil {
			t.Error("a join ended without an error")
		}
	}
}

// Strangers that say nothing hold at most maxHandshakesPerIP places of one
// address, and give them back.
func TestHandshakesAreBounded(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	reg := prometheus.NewRegistry()
	server := run(t, "a", ca.node("a"), book, func(c *Config) { c.Registerer = reg })
	var silent []net.Conn
	for range maxHandshakesPerIP {
		c, err := (&net.Dialer{}).DialContext(within(t), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	// Connections are accepted in the order in which they were made.
	for range 3 {
		c, err := (&net.Dialer{}).DialContext(within(t), "tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		expectEnd(t, c)
	}
	if got := measured(t, reg)["refused full"]; got != 3 {
		t.Errorf("%v counted as refused, want 3", got)
	}
	for _, c := range silent[:2] {
		c.Close()
	}
	// Their places are free as soon as the server has noticed.
	for deadline := time.Now().Add(patience); ; {
		conn, err := server.DialRaft(within(t), "a")
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no place became free: %v", err)
		}
	}
}

func TestQuota(t *testing.T) {
	const all, perIP = 8, 3
	q := newQuota(all, perIP)
	ip := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	for i := range all {
		if !q.take(ip(i)) {
			t.Fatalf("stranger %d is refused", i)
		}
	}
	if q.take(ip(all)) {
		t.Error("one too many has a place")
	}
	q.leave(ip(7))
	if !q.take(ip(7)) {
		t.Error("a free place is not given")
	}
	for i := range all {
		q.leave(ip(i))
	}
	if q.held != 0 || len(q.by) != 0 {
		t.Errorf("%d places held, %d addresses remembered after all have left", q.held, len(q.by))
	}
	for range perIP {
		if !q.take(ip(1)) {
			t.Fatal("refused too early")
		}
	}
	if q.take(ip(1)) {
		t.Error("one address holds more than its share")
	}
	if !q.take(ip(2)) {
		t.Error("another address is refused")
	}
}

type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

func TestRemoteIP(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:7": "192.0.2.1", "[::ffff:192.0.2.1]:7": "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:7": "2001:db8:1:2::", "[fe80::1%lo]:7": "fe80::",
	} {
		tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := remoteIP(remote{addr: tcp}); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if remoteIP(remote{addr: &net.UnixAddr{}}) != (netip.Addr{}) {
		t.Error("an address that is no IP")
	}
}

// No log says from where a stranger came.
func TestLogsHoldNoAddresses(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	server := run(t, "a", newCA(t).node("a"), new(addresses), func(c *Config) {
		c.Registerer = reg
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c, err := (&net.Dialer{}).DialContext(within(t), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).SetLinger(0) // the reset makes an error that names both ends
	c.Close()
	for deadline := time.Now().Add(patience); measured(t, reg)["refused handshake"] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no handshake failed")
		}
		time.Sleep(time.Millisecond) // polls the server's goroutine
	}
	server.stop() // writes no more
	if text := log.String(); !strings.Contains(text, "handshake failed") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the log says %q", text)
	}
}

// A handler that panics ends its call and nothing else.
func TestPanicEndsTheCallOnly(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	reg := prometheus.NewRegistry()
	a := run(t, "a", ca.node("a"), book)
	b := run(t, "b", ca.node("b"), book, func(c *Config) { c.Registerer = reg })
	b.calls.panics.Store(true)
	if err := check(within(t), a, "b"); status.Code(err) != codes.Internal {
		t.Errorf("a call: %v", err)
	}
	conn, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(within(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Internal {
		t.Errorf("a stream: %v", err)
	}
	b.calls.panics.Store(false)
	if err := check(within(t), a, "b"); err != nil {
		t.Errorf("a call after it: %v", err)
	}
	if n := measured(t, reg)["panics"]; n != 2 {
		t.Errorf("%v panics counted", n)
	}
}

// A silent stranger is sent away after handshakeTimeout.
func TestSilentHandshakeEnds(t *testing.T) {
	t.Parallel()
	server := run(t, "a", newCA(t).node("a"), new(addresses))
	c, err := (&net.Dialer{}).DialContext(within(t), "tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	expectEnd(t, c)
}

// Running out of file descriptors passes.
func TestListenerFailureIsRetried(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	flaky := &flakyListener{Listener: listen(t), failures: make(chan error, 3)}
	for range cap(flaky.failures) {
		flaky.failures <- errors.New("accept: too many open files")
	}
	server := run(t, "a", ca.node("a"), book, func(c *Config) { c.Listener = flaky })
	if err := check(within(t), server, "a"); err != nil {
		t.Error(err)
	}
	if len(flaky.failures) != 0 {
		t.Error("the listener did not fail")
	}
}

type flakyListener struct {
	net.Listener
	failures chan error
}

func (l *flakyListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.failures:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

func TestCertificateNode(t *testing.T) {
	for _, id := range []store.NodeID{"a", "n-1", store.NodeID(strings.Repeat("x", store.MaxNodeID))} {
		got, err := CertificateNode(&x509.Certificate{URIs: []*url.URL{NodeURI(id)}})
		if err != nil || got != id {
			t.Errorf("%s reads back as %q, %v", id, got, err)
		}
	}
	for _, u := range []url.URL{
		{}, {Scheme: "talkd", Host: "node"}, {Scheme: "talkd", Host: "node", Path: "a"},
		{Scheme: "talkd", Host: "node", Path: "/a", User: url.User("b")},
		{Scheme: "talkd", Host: "node", Path: "/a", Fragment: "b"},
		{Scheme: "talkd", Opaque: "node/a"},
	} {
		if id, err := CertificateNode(&x509.Certificate{URIs: []*url.URL{&u}}); !errors.Is(err, ErrBadPeer) {
			t.Errorf("%q is taken for %s", u.String(), id)
		}
	}
}
