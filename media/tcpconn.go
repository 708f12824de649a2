package media

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media/udp"
)

const (
	// tcpQueue is how many bytes wait for a TCP connection that does not keep up,
	// and tcpLate for how long: what is media is of no use then. So delay does not
	// grow to what a queue and the kernel hold, which by itself takes megabytes.
	tcpQueue = 512 << 10
	tcpLate  = time.Second
	// strangerBytes is what a connection may say before it is answered, some hundred
	// requests. The library keeps 64 packets of it, which need not be short.
	strangerBytes = 32 << 10
	// frameLen is the length that stands before each packet (RFC 4571 2).
	frameLen = 2
)

var (
	errSlow     = errors.New("media: the TCP connection does not keep up")
	errStranger = errors.New("media: the TCP connection says much before it is answered")
)

// tcpConn is a connection by TCP that never blocks who writes: what finds its
// queue full, or has others before it that wait too long, is lost. Its goroutine
// is there from the first Write to Close.
//
//	Write ─▶ queue ─▶ drain ─▶ kernel
type tcpConn struct {
	net.Conn
	answered func()         // is told that this connection is no stranger's any more
	ended    func(*tcpConn) // is told of the end, perhaps often
	stranger *time.Timer    // ends it before it is answered
	met      atomic.Bool    // it was answered
	heard    int            // bytes before that; of who reads

	mu     sync.Mutex
	ready  sync.Cond // of mu
	queue  []queued  // guarded by mu
	bytes  int       // guarded by mu; in the queue
	closed bool      // guarded by mu
	done   chan struct{}
}

type queued struct {
	b  []byte
	at time.Time
}

func newTCPConn(c net.Conn, answered func(), ended func(*tcpConn)) *tcpConn {
	keepUnsentShort(c)
	t := &tcpConn{Conn: c, answered: answered, ended: ended}
	t.ready.L = &t.mu
	t.mu.Lock() // Close, which the timer calls, takes it first
	defer t.mu.Unlock()
	t.stranger = time.AfterFunc(strangerFor, func() { _ = t.Close() })
	return t
}

// Write takes one whole packet with its length.
func (t *tcpConn) Write(b []byte) (int, error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return 0, net.ErrClosed
	case t.bytes+len(b) > tcpQueue, len(t.queue) > 0 && len(b) > frameLen && udp.IsMedia(b[frameLen:]) && now.Sub(t.queue[0].at) > tcpLate:
		return 0, errSlow
	}
	if t.done == nil {
		t.met.Store(true)
		t.known()
		t.done = make(chan struct{})
		go t.drain(t.done)
	}
	t.queue = append(t.queue, queued{bytes.Clone(b), now})
	t.bytes += len(b)
	t.ready.Signal()
	return len(b), nil
}

// Read is for one goroutine at a time.
func (t *tcpConn) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if !t.met.Load() {
		if t.heard += n; t.heard > strangerBytes {
			return 0, errStranger
		}
	}
	return n, err
}

func (t *tcpConn) known() {
	t.stranger.Stop()
	t.answered()
}

// drain writes what is in the queue until the connection ends.
func (t *tcpConn) drain(done chan<- struct{}) {
	defer close(done)
	for b := t.next(); b != nil; b = t.next() {
		if _, err := t.Conn.Write(b); err != nil {
			t.finish()
			return
		}
	}
}

// next waits for what comes next; nil: the connection has ended.
func (t *tcpConn) next() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.queue) == 0 && !t.closed {
		t.ready.Wait()
	}
	if t.closed {
		return nil
	}
	b := t.queue[0].b
	t.queue[0] = queued{}
	t.queue = t.queue[1:]
	t.bytes -= len(b)
	return b
}

func (t *tcpConn) finish() (done <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed, t.queue, t.bytes = true, nil, 0
	t.ready.Broadcast()
	return t.done
}

// Close returns when the goroutine is gone.
func (t *tcpConn) Close() error {
	done := t.finish()
	t.known()
	t.ended(t)
	err := t.Conn.Close()
	if done != nil {
		<-done
	}
	return err
}
