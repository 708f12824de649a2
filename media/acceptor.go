package media

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// acceptPause is between two attempts to accept a connection when that fails.
	acceptPause = 50 * time.Millisecond
	// maxStrangers is how many connections there are at once that have not yet been
	// answered, and maxShare how many of them from one network: each has a file of
	// the process, for strangerFor at most. Others are answered as soon as what the
	// node needs to believe their first message has come, or detourWait later: when
	// all of an office without UDP come back at once, these are some hundred for a
	// moment, and clients do not try again what was refused.
	maxStrangers = 4096
	maxShare     = 1024
	strangerFor  = 2 * tcpFirstPacket
)

// acceptor is a listener whose errors are its end. The library's mux takes every
// one for that, and there are others: whoever opens very many connections leaves
// the process without files for a while. That is also why there is a bound for
// them as long as nobody knows what they are for.
type acceptor struct {
	net.Listener
	refused prometheus.Counter // connections

	mu        sync.Mutex
	strangers int                   // guarded by mu
	from      map[netip.Prefix]int  // guarded by mu; of them
	open      map[net.Addr]*tcpConn // guarded by mu; by what RemoteAddr returns, see hangUp
}

func newAcceptor(l net.Listener, refused prometheus.Counter) *acceptor {
	return &acceptor{Listener: l, refused: refused, from: map[netip.Prefix]int{}, open: map[net.Addr]*tcpConn{}}
}

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		switch {
		case err != nil && !errors.Is(err, net.ErrClosed):
			time.Sleep(acceptPause)
			continue
		case err != nil:
			return nil, err
		}
		from := networkOf(c.RemoteAddr())
		if !a.admit(from) {
			a.refused.Inc()
			_ = c.Close()
			continue
		}
		t := newTCPConn(c, sync.OnceFunc(func() { a.leave(from) }), a.forget)
		a.mu.Lock()
		a.open[c.RemoteAddr()] = t
		a.mu.Unlock()
		return t, nil
	}
}

// forget is told of the end of a connection.
func (a *acceptor) forget(c *tcpConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, c.RemoteAddr())
}

// hangUp ends a connection, if it is still there. Its address is a pointer that no
// other connection has: what the address says may be another client's by now, to
// which a router has given the port, or that of two connections to two addresses of
// this node.
func (a *acceptor) hangUp(of net.Addr) {
	a.mu.Lock()
	c := a.open[of]
	a.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// admit counts one more stranger, which leave takes off again.
func (a *acceptor) admit(from netip.Prefix) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.strangers == maxStrangers || a.from[from] == maxShare {
		return false
	}
	a.strangers++
	a.from[from]++
	return true
}

func (a *acceptor) leave(from netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.strangers--
	if a.from[from]--; a.from[from] == 0 {
		delete(a.from, from)
	}
}

// networkOf is the network of an address: itself, or with IPv6 the 64 bits of which
// one subscriber has all addresses.
func networkOf(a net.Addr) netip.Prefix {
	ip := addrPortOf(a).Addr().WithZone("")
	p, _ := ip.Prefix(min(ip.BitLen(), 64)) // fails only for more bits than there are
	return p
}

// addrPortOf is the address of a TCP connection, of IPv4 if it is one.
func addrPortOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	at := t.AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}
