package udp

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readBatch is how many datagrams a socket is asked for at once.
	readBatch = 32
	// maxAddresses is how many a connection has at once: a client's networks, and
	// the ports that its routers give it one after the other.
	maxAddresses = 32
	// answeredFor is how long an address stays with the connection that answered a
	// request from there. Clients ask again every 2 to 6 s (RFC 7675 5.1), and a
	// router gives a port to another client later than that.
	answeredFor = 15 * time.Second
)

var errAddress = errors.New("udp: not an address of UDP")

// name is what a connection is called: the part of a STUN user name that this
// node chose (RFC 8445 7.2.2), and the version of IP.
type name struct {
	ufrag string
	v6    bool
}

// mux finds the connection of what comes in. STUN requests go by their user
// name. All else goes by the address, which belongs to the connection that has
// answered a request from there, for that was authenticated; as long as there is
// none, to the one that wrote there first. So nobody gets what is of others by
// naming their addresses as his own, or by sending requests for himself that
// seem to come from there, while they ask as well.
type mux struct {
	port  *Port
	began time.Time

	mu        sync.RWMutex
	closed    bool                      // guarded by mu
	open      map[*conn]struct{}        // guarded by mu; with those whose name was removed
	byName    map[name]*conn            // guarded by mu
	byAddress map[netip.AddrPort]*owner // guarded by mu
}

// owner is whose an address is.
type owner struct {
	conn  *conn
	until atomic.Int64 // when others can have it, since the mux began; 0 before it answered
}

func (m *mux) init(p *Port) {
	m.port, m.began = p, time.Now()
	m.open = map[*conn]struct{}{}
	m.byName = map[name]*conn{}
	m.byAddress = map[netip.AddrPort]*owner{}
}

// GetConn returns the connection of a user name, by the version of IP that addr
// has, and makes it if there is none. Each result is closed on its own; with the
// last one the connection ends.
func (p *Port) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, errAddress
	}
	m := &p.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, io.ErrClosedPipe
	}
	n := name{ufrag, a.IP.To4() == nil}
	c := m.byName[n]
	if c == nil {
		c = newConn(p, n)
		m.open[c] = struct{}{}
		m.byName[n] = c
	}
	c.refs++
	return &handle{conn: c}, nil
}

// RemoveConnByUfrag lets nothing come in for a user name any more.
func (p *Port) RemoveConnByUfrag(ufrag string) {
	p.mux.mu.Lock()
	defer p.mux.mu.Unlock()
	for _, v6 := range []bool{false, true} {
		if c := p.mux.byName[name{ufrag, v6}]; c != nil {
			p.mux.removeLocked(c)
		}
	}
}

// release is told of each handle that is closed.
func (m *mux) release(c *conn) {
	m.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last {
		delete(m.open, c)
		m.removeLocked(c)
	}
	m.mu.Unlock()
	if last {
		c.close()
	}
}

func (m *mux) removeLocked(c *conn) {
	if m.byName[c.name] == c {
		delete(m.byName, c.name)
	}
	for _, a := range c.addresses {
		delete(m.byAddress, a)
	}
	m.port.joining.forget(c.addresses)
	c.addresses = nil
}

func (m *mux) close() {
	m.mu.Lock()
	m.closed = true
	conns := slices.Collect(maps.Keys(m.open))
	m.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// find says where datagrams go.
func (m *mux) find(batch []*datagram, to []target) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i, d := range batch {
		to[i] = m.findLocked(d)
	}
}

func (m *mux) findLocked(d *datagram) target {
	b := d.buf[:d.n]
	var here *conn
	if o := m.byAddress[d.from]; o != nil {
		here = o.conn
	}
	switch {
	case isRequest(b):
		ufrag, ok := requestFor(b)
		if !ok {
			return target{}
		}
		c := m.byName[name{string(ufrag), d.from.Addr().Is6()}]
		return target{conn: c, strange: c != here}
	case here != nil && here.receiver != nil && IsMedia(b):
		return target{conn: here, receiver: here.receiver}
	}
	return target{conn: here}
}

// writes notes that a connection writes to an address. It tells whether the
// handle is open.
func (m *mux) writes(h *handle, to netip.AddrPort, b []byte) bool {
	m.mu.RLock()
	o := m.byAddress[to]
	m.mu.RUnlock()
	switch proven := isSuccess(b); {
	case o == nil || o.conn != h.conn && proven:
		m.own(h.conn, to, proven)
	case proven:
		o.until.Store(int64(time.Since(m.began) + answeredFor))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.done && !h.closed
}

func (m *mux) own(c *conn, a netip.AddrPort, proven bool) {
	now := time.Since(m.began)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName[c.name] != c {
		return // it has ended
	}
	if before := m.byAddress[a]; before != nil {
		if before.conn == c || !proven || int64(now) < before.until.Load() {
			return
		}
		before.conn.addresses = slices.DeleteFunc(before.conn.addresses, func(x netip.AddrPort) bool { return x == a })
	}
	if len(c.addresses) == maxAddresses {
		delete(m.byAddress, c.addresses[0])
		m.port.joining.forget(c.addresses[:1])
		c.addresses = slices.Delete(c.addresses, 0, 1)
	}
	o := &owner{conn: c}
	if proven {
		o.until.Store(int64(now + answeredFor))
	}
	c.addresses = append(c.addresses, a)
	m.byAddress[a] = o
}

// canonical is an address as it is compared: one of IPv4 is not mapped, and only
// link-local ones have a zone.
func canonical(a netip.AddrPort) netip.AddrPort {
	ip := a.Addr().Unmap()
	if ip.Zone() != "" && !ip.IsLinkLocalUnicast() {
		ip = ip.WithZone("")
	}
	return netip.AddrPortFrom(ip, a.Port())
}
