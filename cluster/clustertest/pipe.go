package clustertest

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/talkd/talkd/store"
)

// pipe is a TCP connection. All of it is guarded by the network's lock.
type pipe struct {
	n      *Network
	ends   [2]*end
	broken bool // something was lost: it never works again
}

// end is one side of a pipe.
type end struct {
	p      *pipe
	peer   *end
	owner  store.NodeID
	addr   netip.AddrPort
	in     []segment // what comes from the peer, in order
	size   int
	arrive time.Time // when the last of it does
	err    error     // of a reset
	closed bool
	read   deadline
	write  deadline
	wakes  *sync.Cond
}

// segment is what one Write said; nil data is the end.
type segment struct {
	data []byte
	at   time.Time
}

// maxQueued breaks a connection whose reader does not read.
const maxQueued = 64 << 20

func newPipe(n *Network, owners [2]store.NodeID, addrs [2]netip.AddrPort) *pipe {
	p := &pipe{n: n}
	for i := range p.ends {
		p.ends[i] = &end{p: p, owner: owners[i], addr: addrs[i], wakes: sync.NewCond(&n.mu)}
		p.ends[i].read.end, p.ends[i].write.end = p.ends[i], p.ends[i]
	}
	p.ends[0].peer, p.ends[1].peer = p.ends[1], p.ends[0]
	return p
}

func (p *pipe) wake() {
	for _, e := range p.ends {
		e.wakes.Broadcast()
	}
}

// reset breaks both ends.
func (p *pipe) reset() {
	for _, e := range p.ends {
		e.err = syscall.ECONNRESET
	}
	delete(p.n.pipes, p)
	p.wake()
}

// Read waits for what the peer sent.
func (e *end) Read(b []byte) (int, error) {
	n := e.p.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case e.read.over():
			return 0, os.ErrDeadlineExceeded
		case e.err != nil:
			return 0, e.err
		case len(e.in) > 0 && !time.Now().Before(e.in[0].at) && !n.held[link{e.peer.owner, e.owner}]:
			s := &e.in[0]
			if s.data == nil {
				return 0, io.EOF
			}
			c := copy(b, s.data)
			e.size -= c
			if s.data = s.data[c:]; len(s.data) == 0 {
				e.in = e.in[1:]
			}
			return c, nil
		}
		e.wakes.Wait()
	}
}

// Write never waits: what the network cannot carry yet lies in a buffer.
func (e *end) Write(b []byte) (int, error) {
	n := e.p.n
	n.conditions(link{e.owner, e.peer.owner})
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case e.closed:
		return 0, net.ErrClosed
	case e.write.over():
		return 0, os.ErrDeadlineExceeded
	case e.err != nil:
		return 0, e.err
	case len(b) == 0:
		return 0, nil
	}
	e.send(append([]byte(nil), b...))
	return len(b), nil
}

// send puts a segment on its way; nil is the end. The caller holds the lock.
func (e *end) send(data []byte) {
	n := e.p.n
	if n.cut[link{e.owner, e.peer.owner}] {
		e.p.broken = true
	}
	if e.p.broken {
		return
	}
	if e.peer.closed { // the peer's machine answers that nobody listens
		if data != nil && !n.cut[link{e.peer.owner, e.owner}] {
			e.err = syscall.EPIPE
			e.wakes.Broadcast()
		}
		return
	}
	to, takes := e.peer, n.under()
	if n.quality.Loss > 0 && n.dice.Float64() < n.quality.Loss {
		takes += retransmitAfter
	}
	now := time.Now()
	to.arrive = maxTime(to.arrive, now.Add(takes))
	to.in = append(to.in, segment{data: data, at: to.arrive})
	if to.size += len(data); to.size > maxQueued {
		e.p.reset()
		return
	}
	if wait := to.arrive.Sub(now); wait > 0 {
		time.AfterFunc(wait, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			to.wakes.Broadcast()
		})
		return
	}
	to.wakes.Broadcast()
}

// Close says so to the peer.
func (e *end) Close() error {
	n := e.p.n
	n.conditions(link{e.owner, e.peer.owner})
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.close()
	return nil
}

// close is Close under the lock.
func (e *end) close() {
	if e.closed {
		return
	}
	e.send(nil)
	e.closed, e.in = true, nil
	e.read.stop()
	e.write.stop()
	if e.peer.closed {
		delete(e.p.n.pipes, e.p)
	}
	e.wakes.Broadcast()
}

// LocalAddr is the address of this end.
func (e *end) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(e.addr) }

// RemoteAddr is the address of the other end.
func (e *end) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.peer.addr) }

// SetDeadline sets both deadlines.
func (e *end) SetDeadline(t time.Time) error {
	_ = e.SetReadDeadline(t) // never fails
	return e.SetWriteDeadline(t)
}

// SetReadDeadline ends reads at a time.
func (e *end) SetReadDeadline(t time.Time) error { return e.read.set(t) }

// SetWriteDeadline ends writes at a time.
func (e *end) SetWriteDeadline(t time.Time) error { return e.write.set(t) }

// deadline wakes an end when it is over.
type deadline struct {
	end   *end
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time) error {
	n := d.end.p.n
	n.mu.Lock()
	defer n.mu.Unlock()
	d.stop()
	d.at = t
	if d.end.closed {
		return net.ErrClosed
	}
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			d.end.wakes.Broadcast()
		})
	}
	d.end.wakes.Broadcast()
	return nil
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
