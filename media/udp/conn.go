package udp

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxDatagram is the largest one that is received; the MTU of Ethernet is less.
	maxDatagram = 2048
	// connQueue is how many datagrams wait for the reader of a connection.
	connQueue = 512
)

// datagram is one that came in. It belongs to who reads the socket, then to the
// queue of a connection, then to the pool.
type datagram struct {
	next *datagram
	from netip.AddrPort
	n    int
	buf  [maxDatagram]byte
}

// conn is a connection of the mux: what comes in for one user name (ufrag) by
// one version of IP.
type conn struct {
	port      *Port
	name      name
	refs      int              // guarded by mux.mu; handles that are open
	addresses []netip.AddrPort // guarded by mux.mu; that belong to it, the oldest first
	receiver  Receiver         // guarded by mux.mu; of its media, may be nil
	askers    Askers
	asks      allowances

	mu     sync.Mutex
	ready  sync.Cond // of mu
	first  *datagram // guarded by mu; the queue
	last   *datagram // guarded by mu
	queued int       // guarded by mu
	closed bool      // guarded by mu
}

func newConn(p *Port, n name) *conn {
	c := &conn{port: p, name: n}
	c.ready.L = &c.mu
	return c
}

// admits tells whether a request from an address that is not the connection's is let
// in.
func (c *conn) admits(from netip.AddrPort) bool {
	_, ok := c.askers.Admit(from, time.Now())
	return ok
}

// put tells whether there was room.
func (c *conn) put(d *datagram) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.queued == connQueue {
		return false
	}
	d.next = nil
	if c.first == nil {
		c.first = d
	} else {
		c.last.next = d
	}
	c.last = d
	c.queued++
	c.ready.Signal()
	return true
}

// take waits for a datagram. It returns nil when the handle is closed.
func (c *conn) take(h *handle) *datagram {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.first == nil && !c.closed && !h.done {
		c.ready.Wait()
	}
	if c.closed || h.done {
		return nil
	}
	d := c.first
	c.first = d.next
	c.queued--
	return d
}

// close lets every reader return.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for d := c.first; d != nil; {
		next := d.next
		c.port.datagrams.Put(d)
		d = next
	}
	c.first, c.last = nil, nil
	c.ready.Broadcast()
}

// handle is what a candidate of a connection reads and writes; those of one
// connection share what comes in. It meets net.PacketConn and
// ice.AddrPortReaderWriter. Deadlines do nothing: its user closes it instead.
type handle struct {
	*conn
	done bool // guarded by conn.mu; Close was called
}

func (h *handle) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	d := h.take(h)
	if d == nil {
		return 0, netip.AddrPort{}, io.EOF
	}
	n, from := copy(b, d.buf[:d.n]), d.from
	short := n < d.n
	h.port.datagrams.Put(d)
	if short {
		return n, from, io.ErrShortBuffer
	}
	return n, from, nil
}

func (h *handle) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := h.ReadFromAddrPort(b)
	if !from.IsValid() {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), err
}

func (h *handle) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = canonical(to)
	if !to.IsValid() {
		return 0, errAddress
	}
	if !h.port.mux.writes(h, to, b) {
		return 0, io.ErrClosedPipe
	}
	if isRequest(b) && !h.asks.spend(to) {
		h.port.stats.unanswered.Add(1)
		return len(b), nil // as if it were lost on the way
	}
	return h.port.write(b, to)
}

func (h *handle) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, errAddress
	}
	return h.WriteToAddrPort(b, a.AddrPort())
}

// Close lets readers of this handle return, and ends the connection with the
// last one.
func (h *handle) Close() error {
	h.mu.Lock()
	again := h.done
	h.done = true
	h.ready.Broadcast()
	h.mu.Unlock()
	if !again {
		h.port.mux.release(h.conn)
	}
	return nil
}

func (h *handle) LocalAddr() net.Addr              { return net.UDPAddrFromAddrPort(h.port.addr) }
func (h *handle) SetDeadline(time.Time) error      { return nil }
func (h *handle) SetReadDeadline(time.Time) error  { return nil }
func (h *handle) SetWriteDeadline(time.Time) error { return nil }
