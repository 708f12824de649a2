package signaling

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const writeTimeout = 10 * time.Second

// statusRestart is what clients hear when the node stops. It must not be 1001,
// which web clients take for "do not come back".
const statusRestart = websocket.StatusServiceRestart

// conn is one WebSocket. Its reader is the goroutine of the HTTP request, its
// writer ends with it.
type conn struct {
	hub  *Hub
	ws   *websocket.Conn
	addr netip.Addr
	stay bool // ?redirect=0
	page bool // a browser
	rate rate // until there is a session; belongs to the reader

	stranger  bool // guarded by mu of the hub; has had no session yet
	abandoned atomic.Bool

	// lost is a session of the client that could not be taken up again. It
	// belongs to the reader.
	lost store.SessionID

	wake chan struct{} // there is something to write
	done chan struct{} // closed when nothing is read or written any more

	mu      sync.Mutex
	direct  [][]byte             // guarded by mu; goes out before what the session has
	session *Session             // guarded by mu; nil before hello
	status  websocket.StatusCode // guarded by mu; set when the connection ends after direct
	pings   *time.Timer          // guarded by mu
}

// serve runs the connection until it ends.
func (c *conn) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writer sync.WaitGroup
	writer.Go(func() {
		c.write(ctx)
		cancel() // a reader that waits for a client that is gone would wait for ever
	})
	c.pingLater(ctx)
	hello := time.AfterFunc(c.hub.cfg.HelloTimeout, c.helloTimeout)

	c.say(wire.WelcomeMessage(c.hub.serverInfo()))
	c.read(ctx)

	hello.Stop()
	c.mu.Lock()
	s, polite := c.session, c.status != 0
	c.pings.Stop()
	c.mu.Unlock()
	if !polite {
		cancel()
	}
	c.wakeUp()
	writer.Wait()
	cancel()
	_ = c.ws.CloseNow() // after a close handshake there is nothing left to close
	close(c.done)
	if s != nil {
		s.detach(c)
	}
}

// ping keeps the way through middle boxes open and notices dead peers. It runs
// in a goroutine of its own for as long as the answer takes. The answer is read
// by our reader, which may be busy for as long as a backend takes.
func (c *conn) ping(ctx context.Context) {
	if ctx.Err() != nil || !c.hub.begin() {
		return
	}
	defer c.hub.end()
	pingCtx, cancel := context.WithTimeout(ctx, c.hub.cfg.PingInterval*5/4)
	defer cancel()
	if err := c.ws.Ping(pingCtx); err != nil {
		c.abandon()
		return
	}
	c.pingLater(ctx)
}

func (c *conn) pingLater(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() == nil {
		c.pings = time.AfterFunc(c.hub.cfg.PingInterval, func() { c.ping(ctx) })
	}
}

// read is the reader: one message after the other until the connection ends.
func (c *conn) read(ctx context.Context) {
	for !c.ending() {
		frame, err := c.readFrame(ctx)
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
		c.hub.handle(ctx, c, frame)
	}
}

// readFrame reads one message, and refuses a large one before it is in memory.
func (c *conn) readFrame(ctx context.Context) ([]byte, error) {
	kind, r, err := c.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	frame, err := io.ReadAll(io.LimitReader(r, wire.MaxFrame+1))
	switch {
	case err != nil:
		return nil, err
	case len(frame) > wire.MaxFrame:
		return nil, wire.ErrTooLarge
	case kind != websocket.MessageText:
		return nil, wire.ErrFormat
	}
	return frame, nil
}

// write is the writer.
func (c *conn) write(ctx context.Context) {
	for {
		frame, from, status, ok := c.next()
		switch {
		case ok:
			if err := c.writeFrame(ctx, frame); err != nil {
				if from != nil {
					from.giveBack(frame)
				}
				return
			}
		case status != 0:
			_ = c.ws.Close(status, "") // the client may be gone already
			return
		default:
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			}
		}
	}
}

func (c *conn) writeFrame(ctx context.Context, frame []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return c.ws.Write(ctx, websocket.MessageText, frame)
}

func (c *conn) next() (frame []byte, from *Session, status websocket.StatusCode, ok bool) {
	c.mu.Lock()
	if len(c.direct) > 0 {
		frame = c.direct[0]
		c.direct = c.direct[1:]
		c.mu.Unlock()
		return frame, nil, 0, true
	}
	s, status := c.session, c.status
	c.mu.Unlock()
	if s != nil {
		if frame, ok = s.next(c); ok {
			return frame, s, 0, true
		}
	}
	return nil, nil, status, false
}

// maxDirect bounds what waits for a client that has no session.
const maxDirect = 64

// say sends something to the client: by way of its session, if it has one.
func (c *conn) say(m wire.ServerMessage) {
	c.mu.Lock()
	s := c.session
	if s == nil {
		c.direct = append(c.direct, wire.Encode(m))
	}
	full := len(c.direct) > maxDirect
	c.mu.Unlock()
	if s != nil {
		s.say(m)
		return
	}
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
	c.mu.Unlock()
	c.hub.introduced(c)
	c.wakeUp()
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
	c.hub.background(func() { _ = c.ws.CloseNow() })
	return true
}

func (c *conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status != 0
}

func (c *conn) helloTimeout() {
	if c.current() == nil && !c.ending() {
		c.say(wire.ErrorReply("", wire.ErrHelloExpected))
		c.close(websocket.StatusPolicyViolation)
	}
}

func (c *conn) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
