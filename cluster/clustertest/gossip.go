package clustertest

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

// gossip is a node's port for gossip: packets, and streams in both directions.
type gossip struct {
	h       *host
	port    port
	packets chan *memberlist.Packet // full: lost
	streams chan net.Conn           // full: refused
	once    sync.Once

	mu   sync.Mutex // guards open
	open []net.Conn // nil after Shutdown
	over bool       // guarded by mu
}

var _ memberlist.NodeAwareTransport = (*gossip)(nil)

// datagram is a packet under way.
type datagram struct {
	from, to *port
	data     []byte
}

const maxPackets = 1024

// Gossip takes a port.
func (h *host) Gossip(addr string) (memberlist.NodeAwareTransport, error) {
	g := &gossip{h: h, packets: make(chan *memberlist.Packet, maxPackets), streams: make(chan net.Conn, backlog)}
	g.port.accept = func(c net.Conn) bool {
		select {
		case g.streams <- c:
			return g.track(c)
		default:
			return false
		}
	}
	g.port.packet = func(p *memberlist.Packet) {
		select {
		case g.packets <- p:
		default: // as a socket does
		}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if err := h.bind(addr, &g.port); err != nil {
		return nil, err
	}
	return g, nil
}

// track notes a stream that Shutdown must close; false when it is over.
func (g *gossip) track(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.over {
		g.open = append(g.open, c) // closed ones too: tests are short
	}
	return !g.over
}

// FinalAdvertiseAddr is the address of the port.
func (g *gossip) FinalAdvertiseAddr(ip string, asked int) (net.IP, int, error) {
	if ip != "" {
		return net.ParseIP(ip), asked, nil
	}
	return g.port.addr.Addr().AsSlice(), int(g.port.addr.Port()), nil
}

// WriteToAddress sends a packet.
func (g *gossip) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	at, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, err
	}
	n := g.h.n
	n.mu.Lock()
	to := n.ports[at]
	n.mu.Unlock()
	if to == nil || to.packet == nil {
		return time.Now(), nil
	}
	n.conditions(link{g.h.id, to.owner})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.send(datagram{from: &g.port, to: to, data: append([]byte(nil), b...)})
	return time.Now(), nil
}

// lost tells whether no gossip gets through. The caller holds the lock.
func (n *Network) lost(from, to store.NodeID) bool {
	return n.mute[from] || n.mute[to] || n.down[from] || n.down[to] || n.cut[link{from, to}]
}

// send puts a packet on its way. The caller holds the lock.
func (n *Network) send(d datagram) {
	if n.lost(d.from.owner, d.to.owner) || n.quality.Loss > 0 && n.dice.Float64() < n.quality.Loss {
		return
	}
	if n.held[link{d.from.owner, d.to.owner}] {
		n.late = append(n.late, d)
		return
	}
	copies := 1
	if n.quality.Duplicate > 0 && n.dice.Float64() < n.quality.Duplicate {
		copies = 2
	}
	for range copies {
		takes := n.under()
		if takes == 0 {
			n.deliver(d)
			continue
		}
		time.AfterFunc(takes, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.deliver(d)
		})
	}
}

// deliver hands a packet over. The caller holds the lock.
func (n *Network) deliver(d datagram) {
	if n.ports[d.to.addr] == d.to && !n.down[d.to.owner] {
		d.to.packet(&memberlist.Packet{Buf: bytes.Clone(d.data), From: net.UDPAddrFromAddrPort(d.from.addr), Timestamp: time.Now()})
	}
}

// WriteTo sends a packet.
func (g *gossip) WriteTo(b []byte, addr string) (time.Time, error) {
	return g.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// PacketCh gives the packets that come.
func (g *gossip) PacketCh() <-chan *memberlist.Packet { return g.packets }

// StreamCh gives the streams that come.
func (g *gossip) StreamCh() <-chan net.Conn { return g.streams }

// DialAddressTimeout opens a stream.
func (g *gossip) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	g.h.n.mu.Lock()
	mute := g.h.n.mute[g.h.id] || g.h.n.mute[store.NodeID(a.Name)]
	g.h.n.mu.Unlock()
	if mute {
		return nil, ErrCut
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := g.h.DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	if !g.track(c) {
		_ = c.Close() // nobody wants it any more
		return nil, net.ErrClosed
	}
	return c, nil
}

// DialTimeout opens a stream.
func (g *gossip) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return g.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// Shutdown closes the port and all streams: memberlist does not wait for them.
func (g *gossip) Shutdown() error {
	g.once.Do(func() {
		g.h.n.free(&g.port)
		g.mu.Lock()
		open := g.open
		g.open, g.over = nil, true
		g.mu.Unlock()
		for _, c := range open {
			_ = c.Close() // most are closed already
		}
	})
	return nil
}
