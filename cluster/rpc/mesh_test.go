package rpc

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/store"
)

// Both ends call each other, and each knows the other from its certificate.
func TestCall(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	for _, way := range [][2]*end{{a, b}, {b, a}, {a, a}} {
		if err := check(within(t), way[0], way[1].id); err != nil {
			t.Fatalf("%s calls %s: %v", way[0].id, way[1].id, err)
		}
		if got := <-way[1].calls.peers; got != way[0].id {
			t.Errorf("%s was called by %s, want %s", way[1].id, got, way[0].id)
		}
	}
}

// TestManyCalls: what one service has open does not hold up another.
func TestManyCalls(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	conn, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const open = 10_100
	go func() {
		for range open {
			if _, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				return // the test is over
			}
		}
	}()
	late := within(t).Done()
	for n := range open {
		select {
		case <-b.calls.hanging:
		case <-late:
			t.Fatalf("%d calls are open, no more", n)
		}
	}
	if err := check(within(t), a, "b"); err != nil {
		t.Error(err)
	}
}

func TestPeerIDOfStrangers(t *testing.T) {
	if id, ok := PeerID(context.Background()); ok || id != "" {
		t.Errorf("without a call: %q", id)
	}
	ctx := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: newAuthInfo("", "")})
	if id, ok := PeerID(ctx); ok || id != "" {
		t.Errorf("without a name: %q", id)
	}
	if id, ok := PeerID(peer.NewContext(context.Background(), &peer.Peer{})); ok || id != "" {
		t.Errorf("without TLS: %q", id)
	}
}

// A connection is shared and made once.
func TestDialIsShared(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a := run(t, "a", ca.node("a"), book)
	run(t, "b", ca.node("b"), book)
	one, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	two, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	if one != two {
		t.Error("two connections to one node")
	}
	if _, err := a.Dial("Not a node"); !errors.Is(err, store.ErrBadNodeID) {
		t.Errorf("a bad id: %v", err)
	}
	if _, err := a.Connected(within(t), "b"); err != nil {
		t.Fatal(err)
	}
}

// Connected tells apart what was certainly not sent.
func TestConnectedGivesUp(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a := run(t, "a", ca.node("a"), book)
	ctx, cancel := context.WithTimeout(within(t), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Connected(ctx, "nowhere"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a node without address: %v", err)
	}
	if err := check(within(t), a, "nowhere"); status.Code(err) != codes.Unavailable {
		t.Errorf("a call to a node without address: %v", err)
	}
	a.stop()
	if _, err := a.Connected(within(t), "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := a.Dial("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// An address leads to whichever node is there, and only to nodes of the
// cluster.
func TestDialAddr(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	stranger := run(t, "b", newCA(t).node("b"), new(addresses))
	call := func(addr string) error {
		conn, err := a.DialAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = grpc_health_v1.NewHealthClient(conn).Check(within(t), &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	if err := call(b.Addr().String()); err != nil {
		t.Errorf("a node: %v", err)
	}
	if got := <-b.calls.peers; got != "a" {
		t.Errorf("called by %s", got)
	}
	if err := call(stranger.Addr().String()); status.Code(err) != codes.Unavailable {
		t.Errorf("a node of another cluster: %v", err)
	}
	select {
	case id := <-stranger.calls.peers:
		t.Errorf("another cluster was called by %s", id)
	default:
	}
}

// A node that moved is found at its new address, on the same connection.
func TestNodeMoves(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	if err := check(within(t), a, "b"); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b = run(t, "b", ca.node("b"), book)
	ctx := within(t)
	if _, err := a.Connected(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := check(ctx, a, "b"); err != nil {
		t.Fatal(err)
	}
	<-b.calls.peers
}

// Drop fails calls in flight at once, in both directions, and the next call
// connects again.
func TestDrop(t *testing.T) {
	for _, dropper := range []string{"the caller", "the called"} {
		t.Run(dropper, func(t *testing.T) {
			ca, book := newCA(t), new(addresses)
			a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
			other := run(t, "c", ca.node("c"), book)
			hangs, survives := watch(t, a, b), watch(t, a, other)
			if dropper == "the caller" {
				a.Drop("b")
			} else {
				b.Drop("a")
			}
			if err := hangs(); status.Code(err) != codes.Unavailable {
				t.Errorf("the call in flight: %v", err)
			}
			if err := check(within(t), a, "c"); err != nil {
				t.Errorf("another node: %v", err)
			}
			if _, err := a.Connected(within(t), "b"); err != nil {
				t.Fatal(err)
			}
			if err := check(within(t), a, "b"); err != nil {
				t.Errorf("again: %v", err)
			}
			other.stop()
			if err := survives(); err == nil {
				t.Error("a stopped node goes on")
			}
		})
	}
}

// watch begins a call that hangs; what it returns waits for its end.
func watch(t *testing.T, from, to *end) func() error {
	t.Helper()
	conn, err := from.Dial(to.id)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(within(t), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	<-to.calls.hanging
	return func() error {
		_, err := stream.Recv()
		return err
	}
}

// Forget ends what is open, and Dial makes a connection of its own afterwards.
func TestForget(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	hangs := watch(t, a, b)
	old, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	a.Forget("b")
	if err := hangs(); err == nil {
		t.Error("the call in flight goes on")
	}
	if _, err := grpc_health_v1.NewHealthClient(old).Check(within(t), &grpc_health_v1.HealthCheckRequest{}); err == nil {
		t.Error("the forgotten connection still works")
	}
	if err := check(within(t), a, "b"); err != nil {
		t.Errorf("a new one: %v", err)
	}
	a.Forget("unknown")
}

// Stopping ends hanging calls of both directions and everything that was
// handed out: within stopTimeout, and goleak looks for what is left.
func TestStop(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	fromA, toA := watch(t, a, b), watch(t, b, a)
	raft, err := a.DialRaft(within(t), "b")
	if err != nil {
		t.Fatal(err)
	}
	defer raft.Close()
	accepted, err := b.RaftListener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	unaccepted, err := b.DialRaft(within(t), "a") // nobody takes it
	if err != nil {
		t.Fatal(err)
	}
	defer unaccepted.Close()

	a.stop()
	if err := fromA(); err == nil {
		t.Error("its own call goes on")
	}
	if err := toA(); err == nil {
		t.Error("a call to it goes on")
	}
	for what, conn := range map[string]net.Conn{"dialled by it": raft, "its other end": accepted, "never accepted": unaccepted} {
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := a.RaftListener().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accepting for Raft: %v", err)
	}
	if _, err := a.DialRaft(within(t), "b"); !errors.Is(err, ErrClosed) {
		t.Errorf("dialling for Raft: %v", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// A mesh that was never run holds nothing after Close.
func TestCloseWithoutRun(t *testing.T) {
	ca := newCA(t)
	m := New(Config{Self: "a", Listener: listen(t), Identity: ca.node("a"), Resolve: new(addresses).resolve})
	addr := m.Addr().String()
	if _, err := m.Dial("b"); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := (&net.Dialer{}).DialContext(within(t), "tcp", addr); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

// Raft's connections carry bytes both ways and say who is there.
func TestRaftStream(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a, b := run(t, "a", ca.node("a"), book), run(t, "b", ca.node("b"), book)
	if _, err := a.DialRaft(within(t), "nowhere"); !errors.Is(err, ErrUnknownNode) {
		t.Errorf("a node without address: %v", err)
	}
	out, err := a.DialRaft(within(t), "b")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := b.RaftListener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got := in.(*Conn).Peer; got != "a" {
		t.Errorf("accepted from %q", got)
	}
	if got := out.(*Conn).Peer; got != "b" {
		t.Errorf("dialled %q", got)
	}
	want := slices.Repeat([]byte("raft"), 10_000)
	go func() { _, _ = in.Write(want) }() // the reader compares
	got := make([]byte, len(want))
	if _, err := io.ReadFull(out, got); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, or other bytes", err)
	}
	if a.RaftListener().Addr().String() != a.Addr().String() {
		t.Error("Raft's port is another one")
	}
}

// A message beyond the limit is refused and costs nobody the connection.
func TestMessageTooLarge(t *testing.T) {
	ca, book := newCA(t), new(addresses)
	a := run(t, "a", ca.node("a"), book)
	run(t, "b", ca.node("b"), book)
	conn, err := a.Dial("b")
	if err != nil {
		t.Fatal(err)
	}
	big := &grpc_health_v1.HealthCheckRequest{Service: string(make([]byte, maxMessage+1))}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(within(t), big); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a message of %d bytes: %v", maxMessage+1, err)
	}
	if err := check(within(t), a, "b"); err != nil {
		t.Error(err)
	}
}
