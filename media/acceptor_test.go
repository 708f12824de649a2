package media

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// script is a listener that returns what it is told, one after the other: errors,
// or connections from an address.
type script struct {
	net.Listener
	results []any
}

func (s *script) Accept() (net.Conn, error) {
	result := s.results[0]
	s.results = s.results[1:]
	if err, ok := result.(error); ok {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	near, _ := net.Pipe()
	return pipe{near, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(result.(string)))}, nil
}

// pipe comes from an address.
type pipe struct {
	net.Conn
	from *net.TCPAddr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

func accepting(results ...any) (*acceptor, prometheus.Counter) {
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	return newAcceptor(&script{results: append(results, net.ErrClosed)}, refused), refused
}

// Connections are accepted again after there were no files left, until the
// listener is closed.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := os.NewSyscallError("accept4", syscall.EMFILE)
		a, _ := accepting(full, full, "192.0.2.1:1", full)
		c, err := a.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if c, err := a.Accept(); c != nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepted %v when closed: %v", c, err)
		}
	})
}

// Strangers have a bound together, and one for each network; those who were
// answered or are gone count no more, and the others go after a while.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := accepting()
		accept := func(from string) net.Conn {
			a.Listener = &script{results: []any{from, net.ErrClosed}}
			c, _ := a.Accept()
			return c
		}
		var conns []net.Conn
		for range maxShare {
			conns = append(conns, accept("192.0.2.1:1"))
		}
		if accept("192.0.2.1:2") != nil || accept("[::ffff:192.0.2.1]:2") != nil {
			t.Error("one more from a network than there may be")
		}
		if _, err := conns[0].Write([]byte{0, 1, 0}); err != nil {
			t.Fatal(err)
		}
		_ = conns[1].Close()
		for range 2 {
			if c := accept("192.0.2.1:3"); c != nil {
				conns = append(conns, c)
			} else {
				t.Error("who was answered or is gone counts")
			}
		}
		if accept("192.0.2.1:4") != nil {
			t.Error("one more after those")
		}
		for i := maxShare; i < maxStrangers; i++ {
			address := netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 8), 15: byte(i)}) // one network
			if i/maxShare%2 == 0 {
				address = netip.AddrFrom4([4]byte{198, 51, byte(i / maxShare), 1})
			}
			c := accept(netip.AddrPortFrom(address, 5).String())
			if c == nil {
				address = netip.AddrFrom4([4]byte{203, 0, byte(i / maxShare), 1})
				c = accept(netip.AddrPortFrom(address, 5).String())
			}
			conns = append(conns, c)
		}
		if accept("192.0.2.9:1") != nil {
			t.Error("more strangers than there may be")
		}
		time.Sleep(strangerFor + time.Second) // of the bubble
		if _, err := conns[0].Write([]byte{0, 1, 0}); err != nil {
			t.Errorf("who was answered is gone: %v", err)
		}
		a.mu.Lock()
		if len(a.from) != 0 || a.strangers != 0 {
			t.Errorf("%d strangers of %d networks are left", a.strangers, len(a.from))
		}
		a.mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	})
}

// A connection is ended by itself, whoever has the same address, and is forgotten with
// its end.
func TestHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := accepting("192.0.2.1:1", "192.0.2.1:1")
		accept := func() *tcpConn {
			c, err := a.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return c.(*tcpConn)
		}
		open := func(c *tcpConn) *tcpConn {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.open[c.RemoteAddr()]
		}
		c, kept := accept(), accept()
		a.hangUp(c.RemoteAddr())
		a.hangUp(c.RemoteAddr())
		if _, err := c.Write(framed(stunFirst, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it goes on: %v", err)
		}
		if open(c) != nil || open(kept) != kept {
			t.Error("the wrong one is there")
		}
		time.Sleep(strangerFor + time.Second) // of the bubble
		synctest.Wait()
		if open(kept) != nil {
			t.Error("strangers are remembered for ever")
		}
	})
}
