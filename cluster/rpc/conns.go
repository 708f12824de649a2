package rpc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/talkd/talkd/store"
)

// Conn is an established connection. Peer is empty for a joining node, which
// has no certificate.
type Conn struct {
	*tls.Conn
	Peer store.NodeID
}

// conns are the open sockets of both directions, so that none outlives the
// mesh whoever it was handed to.
type conns struct {
	mu     sync.Mutex // guards what follows
	closed bool
	open   map[*socket]struct{}
}

// socket is a TCP connection below TLS.
type socket struct {
	net.Conn
	set  *conns
	peer store.NodeID // guarded by set.mu; empty until it is known
}

// add takes the connection over; false when the set is closed.
func (c *conns) add(raw net.Conn, peer store.NodeID) (*socket, bool) {
	s := &socket{Conn: raw, set: c, peer: peer}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	if c.open == nil {
		c.open = make(map[*socket]struct{})
	}
	c.open[s] = struct{}{}
	return s, true
}

func (c *conns) name(s *socket, peer store.NodeID) {
	c.mu.Lock()
	s.peer = peer
	c.mu.Unlock()
}

// WithoutAddress is the error as it may stand in a log: an address of the
// network tells who a stranger is.
func WithoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// Close closes the socket.
func (s *socket) Close() error {
	s.set.mu.Lock()
	delete(s.set.open, s)
	s.set.mu.Unlock()
	return s.Conn.Close()
}

// closeAll closes every socket and refuses new ones.
func (c *conns) closeAll() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for s := range open {
		_ = s.Conn.Close() // nobody is left to tell
	}
}

// closePeer closes the sockets to and from one node.
func (c *conns) closePeer(peer store.NodeID) {
	c.mu.Lock()
	var drop []*socket
	for s := range c.open {
		if s.peer == peer {
			drop = append(drop, s)
			delete(c.open, s)
		}
	}
	c.mu.Unlock()
	for _, s := range drop {
		_ = s.Conn.Close() // its users see the error at their next read
	}
}

// peers are the nodes at the other ends.
func (c *conns) peers() []store.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make(map[store.NodeID]bool)
	for s := range c.open {
		if s.peer != "" {
			ids[s.peer] = true
		}
	}
	return slices.Collect(maps.Keys(ids))
}

func (c *conns) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
