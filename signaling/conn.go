package signaling

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const writeTimeout = 10 * time.Second

// statusRestart is how a connection ends whose client is to come again: the node
// stops, or the one behind it is gone. Pages hear it; it must not be 1001, which they
// take for "do not come back". From apps the connection is cut: the WebSocket library
// of those for Android stops listening at the frame that ends it, and tells the app
// that it is over only when it has been cut.
const statusRestart = websocket.StatusServiceRestart

// conn is one connection of a client. Its reader is the goroutine that serves it;
// what waits for the client is written by the writers of the Hub (conn_write.go).
type conn struct {
	hub     *Hub
	carrier carrier
	via     store.NodeID // the node that the client has come to, if that is not this one
	addr    netip.Addr
	stay    bool   // ?redirect=0
	page    bool   // a browser
	agent   string // the program of the client, if that is no browser
	rate    rate   // until there is a session; belongs to the reader

	stranger  bool // guarded by mu of the hub; has had no session yet
	abandoned atomic.Bool

	// version is that of the hello, and of the answer. It belongs to the reader.
	version string

	// lost is a session of the client that could not be taken up again. It
	// belongs to the reader.
	lost store.SessionID

	done   chan struct{} // closed when nothing is read or written any more
	writer sync.WaitGroup
	ctx    context.Context    // of what is written; set by serve
	cancel context.CancelFunc // of ctx

	mu      sync.Mutex
	direct  [][]byte             // guarded by mu; goes out before what the session has
	session *Session             // guarded by mu; nil before hello
	tunnel  *tunnel              // guarded by mu; to the node that has the session
	status  websocket.StatusCode // guarded by mu; set when the connection ends after direct
	hello   *time.Timer          // guarded by mu; runs until there is a session; nil before serve
	served  bool                 // guarded by mu; something may be written
	stopped bool                 // guarded by mu; nothing is written any more
	writes  bool                 // guarded by mu; it waits for a writer, or has one
	more    bool                 // guarded by mu; the writer has to look again

	turn int64 // guarded by mu of pings; when it is asked next
}

// serve runs the connection until it ends.
func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.ctx, c.cancel, c.served = ctx, cancel, true
	c.hello = time.AfterFunc(c.hub.cfg.HelloTimeout, c.helloTimeout)
	if c.via == "" {
		c.direct = append(c.direct, c.hub.greets().welcome)
	}
	c.mu.Unlock()
	c.hub.pings.set(c, c.hub.cfg.PingInterval)
	c.writeNow()
	c.read(ctx)

	c.hub.pings.forget(c)
	c.mu.Lock()
	s, polite := c.session, c.status != 0
	c.hello.Stop()
	c.mu.Unlock()
	if !polite {
		c.stop()
	}
	c.wakeUp()
	c.mu.Lock()
	c.served = false
	c.mu.Unlock()
	hurry := context.AfterFunc(ctx, c.carrier.cut) // a write to a slow client takes its time
	c.writer.Wait()
	hurry()
	c.carrier.cut()
	if s != nil {
		s.giveBack(c.carrier.unheard()) // before the next connection, which waits for done
	}
	close(c.done)
	if s != nil {
		s.detach(c)
	}
}

// ask keeps the way through middle boxes open and notices dead peers. The answer is read
// by our reader, which may be busy for as long as a backend takes.
func (c *conn) ask() {
	if !c.carrier.ask() {
		c.abandon()
		return
	}
	c.hub.pings.set(c, c.hub.cfg.PingInterval*5/4)
	c.writeNow()
}

// answered is for the reader: the client is there.
func (c *conn) answered() { c.hub.pings.set(c, c.hub.cfg.PingInterval) }

// read is the reader: one message after the other until the connection ends.
func (c *conn) read(ctx context.Context) {
	defer c.hub.survive()
	for !c.ending() {
		frame, err := c.carrier.read(ctx)
		switch {
		case errors.Is(err, wire.ErrTooLarge), errors.Is(err, wire.ErrFormat):
			c.hub.metrics.received("invalid")
			c.say(wire.ErrorReply("", err))
			status := websocket.StatusMessageTooBig
			if !errors.Is(err, wire.ErrTooLarge) {
				status = websocket.StatusUnsupportedData
			}
			c.close(status)
			return
		case err != nil:
			return
		}
		if t := c.fronted(); t == nil {
			c.hub.handle(ctx, c, frame)
		} else if t.send(frame) != nil {
			return // the other end of it says what happens now
		}
	}
}

// maxDirect bounds what waits for a client that has no session.
const maxDirect = 64

// say sends something to the client: by way of its session, if it has one.
func (c *conn) say(m wire.ServerMessage) {
	if s := c.current(); s != nil {
		s.say(m)
		return
	}
	c.sayDirectly(wire.Encode(m))
}

// sayDirectly sends a frame to a client that has no session.
func (c *conn) sayDirectly(frame []byte) {
	c.mu.Lock()
	c.direct = append(c.direct, frame)
	full := len(c.direct) > maxDirect
	c.mu.Unlock()
	if full {
		c.abandon()
		return
	}
	c.wakeUp()
}

// begin gives the connection its session; first goes out before anything the
// session has queued.
func (c *conn) begin(s *Session, first wire.ServerMessage) {
	c.mu.Lock()
	c.direct = append(c.direct, wire.Encode(first))
	c.session = s
	if c.hello != nil {
		c.hello.Stop()
	}
	c.mu.Unlock()
	c.hub.introduced(c)
	c.writeNow()
}

// fronted is the way to the node that has the session, or nil.
func (c *conn) fronted() *tunnel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tunnel
}

func (c *conn) current() *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// finish sends the last frames and ends the connection, which has no session
// any more.
func (c *conn) finish(last [][]byte) {
	c.mu.Lock()
	c.session = nil
	c.direct = append(c.direct, last...)
	c.mu.Unlock()
	c.close(websocket.StatusNormalClosure)
}

// close ends the connection as soon as all is written that waits.
func (c *conn) close(status websocket.StatusCode) {
	c.mu.Lock()
	if c.status == 0 {
		c.status = status
	}
	c.mu.Unlock()
	c.wakeUp()
}

// abandon ends the connection at once. The client may resume. It is false if
// that has begun already: all that is said until then asks for it again.
func (c *conn) abandon() bool {
	if c.abandoned.Swap(true) {
		return false
	}
	c.hub.background(c.carrier.cut)
	return true
}

func (c *conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status != 0
}

func (c *conn) helloTimeout() {
	if c.current() == nil && c.fronted() == nil && !c.ending() {
		c.say(wire.ErrorReply("", wire.ErrHelloExpected))
		c.close(websocket.StatusPolicyViolation)
	}
}
