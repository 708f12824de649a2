package clustertest

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

// ErrCut is what a node sees of a link that is down.
var ErrCut = errors.New("clustertest: link is cut")

// Network is the links between the nodes of a kit. It stands in every node's
// way out: dialled connections and gossip packets.
type Network struct {
	mu    sync.Mutex // guards what follows
	addrs map[string]store.NodeID
	cut   map[link]bool
	cutIf map[link]func() bool
	mute  map[store.NodeID]bool // in gossip
	down  map[store.NodeID]bool
	conns map[*conn]struct{}
	heals chan struct{} // closed and replaced at each Heal
}

type link struct{ from, to store.NodeID }

func newNetwork() *Network {
	return &Network{
		addrs: make(map[string]store.NodeID), cut: make(map[link]bool), cutIf: make(map[link]func() bool), mute: make(map[store.NodeID]bool), down: make(map[store.NodeID]bool),
		conns: make(map[*conn]struct{}), heals: make(chan struct{}),
	}
}

// CutOneWay loses what from sends to to, silently.
func (n *Network) CutOneWay(from, to store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[link{from, to}] = true
}

// CutOnce loses what from sends to to from the moment at which the condition
// holds, silently. It is asked whenever something is to pass.
func (n *Network) CutOnce(from, to store.NodeID, holds func() bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutIf[link{from, to}] = holds
}

// Cut loses everything between two nodes, silently.
func (n *Network) Cut(a, b store.NodeID) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// Isolate cuts a node off from all that the network knows.
func (n *Network) Isolate(id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.addrs {
		if other != id {
			n.cut[link{id, other}] = true
			n.cut[link{other, id}] = true
		}
	}
}

// CutGossip loses the gossip from and to a node. All else passes.
func (n *Network) CutGossip(id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute[id] = true
}

// Heal restores all cut links. Connections that lost something break.
func (n *Network) Heal() {
	n.mu.Lock()
	clear(n.cut)
	clear(n.cutIf)
	clear(n.mute)
	var broken []*conn
	for c := range n.conns {
		if c.broken {
			broken = append(broken, c)
		}
	}
	close(n.heals)
	n.heals = make(chan struct{})
	n.mu.Unlock()
	for _, c := range broken {
		_ = c.Close() // its user sees the error
	}
}

// setDown makes a machine vanish: its connections break, and it refuses new
// ones.
func (n *Network) setDown(id store.NodeID, down bool) {
	n.mu.Lock()
	n.down[id] = down
	var broken []*conn
	for c := range n.conns {
		if down && (c.from == id || c.to == id) {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		_ = c.Close() // its user sees the error
	}
}

func (n *Network) know(addr string, id store.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs[addr] = id
}

// dialer is a node's way to the others over TCP.
type dialer struct {
	n    *Network
	from store.NodeID
}

// DialContext connects, or waits like one who gets no answer.
func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	for {
		d.n.mu.Lock()
		to := d.n.addrs[addr]
		down := d.n.down[to] || d.n.down[d.from]
		cut := d.n.cut[link{d.from, to}] || d.n.cut[link{to, d.from}]
		heals := d.n.heals
		d.n.mu.Unlock()
		switch {
		case down:
			return nil, ErrCut
		case !cut:
			raw, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return d.n.wrap(raw, d.from, to), nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-heals:
		}
	}
}

// conn is a connection as its dialler sees it. What goes over a cut link is
// gone; the stream has a hole then and never works again.
type conn struct {
	net.Conn
	n        *Network
	from, to store.NodeID
	broken   bool // guarded by n.mu
}

func (n *Network) wrap(raw net.Conn, from, to store.NodeID) net.Conn {
	c := &conn{Conn: raw, n: n, from: from, to: to}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
	return c
}

// passes tells whether something may go from one end to the other now.
func (c *conn) passes(from, to store.NodeID) bool {
	c.n.mu.Lock()
	holds := c.n.cutIf[link{from, to}]
	c.n.mu.Unlock()
	cut := holds != nil && holds()
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if cut || c.n.cut[link{from, to}] {
		c.broken = true
	}
	return !c.broken
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || c.passes(c.to, c.from) {
			return n, err
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if !c.passes(c.from, c.to) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}

// transport is a node's way to the others for gossip.
type transport struct {
	memberlist.NodeAwareTransport
	n    *Network
	from store.NodeID
}

// lost tells whether nothing gets to an address.
func (t *transport) lost(a memberlist.Address, bothWays bool) bool {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	to := store.NodeID(a.Name)
	if to == "" {
		to = t.n.addrs[a.Addr]
	}
	return t.n.mute[t.from] || t.n.mute[to] || t.n.down[t.from] || t.n.down[to] || t.n.cut[link{t.from, to}] || bothWays && t.n.cut[link{to, t.from}]
}

// WriteToAddress sends a packet.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.lost(a, false) {
		return time.Now(), nil
	}
	return t.NodeAwareTransport.WriteToAddress(b, a)
}

// WriteTo sends a packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// DialAddressTimeout opens a stream.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if t.lost(a, true) {
		return nil, ErrCut
	}
	return t.NodeAwareTransport.DialAddressTimeout(a, timeout)
}

// DialTimeout opens a stream.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}
