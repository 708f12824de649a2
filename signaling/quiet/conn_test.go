package quiet_test

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/talkd/talkd/signaling/quiet"
)

// TestConn: it is as any connection. One end is one of the net package.
func TestConn(t *testing.T) {
	nettest.TestConn(t, pair(t, func(l net.Listener) net.Listener { return l }, quiet.Conn))
}

// TestListener: what it accepts is as any connection. The other end is one of the net
// package.
func TestListener(t *testing.T) {
	nettest.TestConn(t, pair(t, quiet.Listener, func(c net.Conn) net.Conn { return c }))
}

// TestListenerAddresses: both ends are told as the net package tells them, of both
// families, also when the connection is closed; and the listener ends when it is closed.
func TestListenerAddresses(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			c1, c2, stop, err := pairAt(t, at, quiet.Listener, func(c net.Conn) net.Conn { return c })
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if c1.LocalAddr().String() != c2.RemoteAddr().String() || c1.RemoteAddr().String() != c2.LocalAddr().String() {
				t.Errorf("%v to %v, from the other end %v to %v", c1.LocalAddr(), c1.RemoteAddr(), c2.RemoteAddr(), c2.LocalAddr())
			}
			from := c2.RemoteAddr().String()
			if err := c2.Close(); err != nil {
				t.Fatal(err)
			}
			if c2.RemoteAddr().String() != from {
				t.Errorf("closed: from %v, want %v", c2.RemoteAddr(), from)
			}
			if _, err := c2.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("to write on a closed connection: %v", err)
			}
			if err := c2.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("to close it again: %v", err)
			}
			if _, err := c1.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("the other end: %v", err)
			}
		})
	}
	l := quiet.Listener(listen(t, "127.0.0.1:0"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("to accept by a closed listener: %v", err)
	}
}

// TestListenerHalfClosed: who has said all may still hear.
func TestListenerHalfClosed(t *testing.T) {
	c1, c2, stop, err := pairAt(t, "127.0.0.1:0", quiet.Listener, func(c net.Conn) net.Conn { return c })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	half, ok := c2.(interface{ CloseWrite() error })
	if !ok {
		t.Skip("connections are those of the net package here")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c1.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the other end: %v", err)
	}
	if _, err := c1.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := c2.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("heard %d bytes, %v", n, err)
	}
}

// TestListenerLinger: of a connection that is closed with SetLinger(0) nothing more is sent.
func TestListenerLinger(t *testing.T) {
	c1, c2, stop, err := pairAt(t, "127.0.0.1:0", quiet.Listener, func(c net.Conn) net.Conn { return c })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c, ok := c2.(interface{ SetLinger(sec int) error })
	if !ok {
		t.Fatalf("%T has no SetLinger", c2)
	}
	for _, sec := range []int{-1, 1, 0} { // the last one counts
		if err := c.SetLinger(sec); err != nil {
			t.Fatal(err)
		}
	}
	if err := c2.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c1.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other end: %v", err)
	}
	if err := c.SetLinger(0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed one: %v", err)
	}
}

func listen(t *testing.T, at string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// pair connects, with the listener and the connecting end made otherwise.
func pair(t *testing.T, listener func(net.Listener) net.Listener, conn func(net.Conn) net.Conn) nettest.MakePipe {
	return func() (c1, c2 net.Conn, stop func(), err error) { return pairAt(t, "127.0.0.1:0", listener, conn) }
}

func pairAt(t *testing.T, at string, listener func(net.Listener) net.Listener, conn func(net.Conn) net.Conn) (c1, c2 net.Conn, stop func(), err error) {
	l := listener(listen(t, at))
	defer func() { _ = l.Close() }()
	if c1, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		return nil, nil, nil, err
	}
	if c2, err = l.Accept(); err != nil {
		return nil, nil, nil, err
	}
	return conn(c1), c2, func() { _, _ = c1.Close(), c2.Close() }, nil
}
