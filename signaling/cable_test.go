package signaling_test

import (
	"context"
	"net"
	"sync"

	"github.com/talkd/talkd/store"
)

// cables are the connections between the nodes of a cluster, which a test may
// cut, also one way only. What was on the way arrives when they are mended, as
// TCP would have it.
type cables struct {
	mu     sync.Mutex
	change *sync.Cond          // of mu
	cuts   map[direction]bool  // guarded by mu
	closed map[*cable]struct{} // guarded by mu; whose other end does not know yet
}

type direction struct{ from, to store.NodeID }

func newCables() *cables {
	c := &cables{cuts: make(map[direction]bool), closed: make(map[*cable]struct{})}
	c.change = sync.NewCond(&c.mu)
	return c
}

// cutOneWay lets nothing that one node sends reach the other.
func (c *cables) cutOneWay(from, to *testNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cuts[direction{from.id, to.id}] = true
}

// mend takes all cuts back.
func (c *cables) mend() {
	c.mu.Lock()
	clear(c.cuts)
	closed := c.closed
	c.closed = make(map[*cable]struct{})
	c.mu.Unlock()
	c.change.Broadcast()
	for conn := range closed {
		_ = conn.Conn.Close()
	}
}

// dialer connects one node to another.
func (c *cables) dialer(from, to store.NodeID) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &cable{Conn: conn, all: c, there: direction{from, to}, back: direction{to, from}}, nil
	}
}

// cable is one connection, at the end that dialled.
type cable struct {
	net.Conn
	all         *cables
	there, back direction
	shut        bool // guarded by all.mu
}

// wait waits as long as the direction is cut. It is false if this end has been
// closed.
func (c *cable) wait(d direction) bool {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	for c.all.cuts[d] && !c.shut {
		c.all.change.Wait()
	}
	return !c.shut
}

func (c *cable) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.wait(c.back) {
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *cable) Write(b []byte) (int, error) {
	if !c.wait(c.there) {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// Close is heard at the other end when nothing is cut.
func (c *cable) Close() error {
	c.all.mu.Lock()
	cut := c.all.cuts[c.there]
	if c.shut = true; cut {
		c.all.closed[c] = struct{}{}
	}
	c.all.mu.Unlock()
	c.all.change.Broadcast()
	if cut {
		return nil
	}
	return c.Conn.Close()
}

// cut is a broken way between two nodes, both ways.
func (c *cluster) cut(a, b *testNode) {
	c.cables.cutOneWay(a, b)
	c.cables.cutOneWay(b, a)
}

// hang stops a node as SIGSTOP does, as far as others can see: its sockets stay
// open, nothing comes from it, it hears nothing, and its lease runs out.
func (n *testNode) hang() {
	n.c.mu.Lock()
	n.hung = true
	n.c.mu.Unlock()
	n.lease.Store(false)
	for _, other := range n.c.nodes {
		if other != n {
			n.c.cut(n, other)
		}
	}
}

// learnAgain tells a node that hung what was decided meanwhile.
func (n *testNode) learnAgain() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.hung = false
	for _, e := range n.missed {
		n.learnLocked(e)
	}
	n.missed = nil
}
