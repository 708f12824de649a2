package cluster

import (
	"context"
	"fmt"
	"log"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// gossipTransport is memberlist's own, with an end: memberlist does not wait
// for its streams, so this closes them.
//
//	NetTransport.StreamCh -> forward (one goroutine) -> StreamCh
type gossipTransport struct {
	*memberlist.NetTransport
	streams chan net.Conn
	closing chan struct{} // nobody takes streams any more
	done    chan struct{} // nobody brings any
	once    sync.Once
	wg      sync.WaitGroup

	mu     sync.Mutex // guards what follows
	open   map[net.Conn]struct{}
	closed bool
}

// newGossipTransport listens on UDP and TCP of one port.
func newGossipTransport(listen string, logger *log.Logger) (*gossipTransport, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, err
	}
	ip, err := lookupIP(host)
	if err != nil {
		return nil, err
	}
	inner, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
		BindAddrs: []string{ip}, BindPort: port, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	t := &gossipTransport{
		NetTransport: inner, streams: make(chan net.Conn),
		closing: make(chan struct{}), done: make(chan struct{}), open: make(map[net.Conn]struct{}),
	}
	t.wg.Go(t.forward)
	return t, nil
}

func (t *gossipTransport) forward() {
	for {
		select {
		case conn := <-t.NetTransport.StreamCh():
			if conn, ok := t.track(conn); ok {
				select {
				case t.streams <- conn:
				case <-t.closing:
					_ = conn.Close() // nobody wants it any more
				}
			}
		case <-t.done:
			return
		}
	}
}

// StreamCh gives incoming connections.
func (t *gossipTransport) StreamCh() <-chan net.Conn { return t.streams }

// DialAddressTimeout opens a connection to a node.
func (t *gossipTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	conn, err := t.NetTransport.DialAddressTimeout(a, timeout)
	if err != nil {
		return nil, err
	}
	tracked, ok := t.track(conn)
	if !ok {
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// DialTimeout opens a connection to an address.
func (t *gossipTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// Shutdown closes the port and every stream.
func (t *gossipTransport) Shutdown() error {
	t.once.Do(func() {
		close(t.closing)
		t.mu.Lock()
		t.closed = true
		open := t.open
		t.open = nil
		t.mu.Unlock()
		for conn := range open {
			_ = conn.(*gossipConn).Conn.Close() // its user sees the error
		}
		// The inner transport's goroutines may be waiting for somebody to take
		// a packet or a stream, also when memberlist was never started.
		drained := make(chan struct{})
		t.wg.Go(func() {
			for {
				select {
				case <-t.PacketCh():
				case <-drained:
					return
				}
			}
		})
		_ = t.NetTransport.Shutdown() // never fails
		close(drained)
		close(t.done)
		t.wg.Wait()
	})
	return nil
}

func (t *gossipTransport) track(conn net.Conn) (net.Conn, bool) {
	g := &gossipConn{Conn: conn, t: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = conn.Close() // nobody wants it any more
		return nil, false
	}
	t.open[g] = struct{}{}
	return g, true
}

type gossipConn struct {
	net.Conn
	t *gossipTransport
}

// Close closes the connection.
func (g *gossipConn) Close() error {
	g.t.mu.Lock()
	delete(g.t.open, g)
	g.t.mu.Unlock()
	return g.Conn.Close()
}

// lookupIP turns a host into the address that memberlist wants; none means
// all.
func lookupIP(host string) (string, error) {
	if host == "" {
		return "0.0.0.0", nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String(), nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", host)
	if err != nil {
		return "", err
	}
	if len(ips) == 0 {
		return "", fmt.Errorf("%s has no address", host)
	}
	return ips[0].String(), nil
}
