package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	// joinTimeout is how long it may take to connect, say hello and enter the room.
	joinTimeout = 10 * time.Second
	// A connection that broke is tried again after firstPause, and then after ever
	// longer up to lastPause, each time half to one and a half of that.
	firstPause = 100 * time.Millisecond
	lastPause  = 8 * time.Second
	// giveUp is when the client is told that it has to come again. A server keeps a
	// session for 30 s, and a token is good for a minute.
	giveUp = time.Minute
	// partingTime is how long the other server may take to hear that the client leaves.
	partingTime = time.Second
	// maxQueued is how many frames of the client wait, also while the connection is
	// broken.
	maxQueued = 256
)

// ErrReplaced: the participant has entered the room with another session.
var ErrReplaced = errors.New("replaced by another session of the participant")

// errQueue: the other server does not take what the client says.
var errQueue = fmt.Errorf("%w: too much waits", wire.ErrFederationFailed)

// Seat is who goes where.
type Seat struct {
	Session     store.SessionID // as this server knows it
	Features    []string        // of the client
	Cloud       string          // URL of its own Nextcloud
	Room        string          // as the client calls it
	RoomSession wire.RoomSessionID
	Far         wire.Federation
}

func (s *Seat) farRoom() string { return cmp.Or(s.Far.RoomID, s.Room) }

// notThere are features of clients that have a socket of their own: a link neither
// follows the nodes of the other server, nor publishes. Comments of the chat the client
// fetches from its own Nextcloud, which calls their writers by their right names.
var notThere = []string{wire.ClientRedirect, wire.ClientMove, wire.ClientResumeMedia, wire.ClientChatRelay}

func (s *Seat) hello() wire.Hello {
	return wire.Hello{
		Version:  wire.Version2,
		Features: slices.DeleteFunc(slices.Clone(s.Features), func(f string) bool { return slices.Contains(notThere, f) }),
		Auth:     &wire.Auth{Type: wire.AuthFederation, URL: s.Far.URL, Params: wire.Marshal(map[string]string{"token": s.Far.Token})},
	}
}

// Link is a client's place in a room of another server. A nil Link is none.
type Link struct {
	dialer  *Dialer
	seat    Seat
	out     chan []byte
	leaving context.Context // ends when the client leaves
	leave   context.CancelFunc

	// These belong to Run; the writer has them while there is a connection.
	line *line
	far  session
	held []byte // a frame that could not be sent

	mu    sync.Mutex
	room  wire.Room // guarded by mu
	whole bool      // guarded by mu; there is a connection
	left  bool      // guarded by mu; nothing is heard any more
}

func newLink(d *Dialer, s Seat, ln *line) *Link {
	l := &Link{dialer: d, seat: s, line: ln, out: make(chan []byte, maxQueued), whole: true}
	l.leaving, l.leave = context.WithCancel(context.Background())
	return l
}

// Join takes a client to a room. A refusal of the other server is the error.
func (d *Dialer) Join(ctx context.Context, s Seat) (*Link, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ln, err := d.dial(ctx, s.Far.Signaling)
	if err != nil {
		return nil, err
	}
	l := newLink(d, s, ln)
	if err := l.enter(ctx, ln); err != nil {
		ln.cut()
		return nil, err
	}
	return l, nil
}

// enter begins a session at the other server and takes it to the room.
func (l *Link) enter(ctx context.Context, ln *line) error {
	far, err := ln.hello(ctx, l.seat.hello())
	if err != nil {
		return err
	}
	answer, err := ln.ask(ctx, wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: l.seat.farRoom(), SessionID: l.seat.RoomSession}})
	if err != nil {
		return err
	}
	l.far = far
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = l.names().roomOf(answer)
	return nil
}

func (l *Link) names() *names {
	return &names{
		here: l.seat.Session, there: l.far.id, room: l.seat.Room, far: l.seat.farRoom(),
		ownCloud: cloudOf(l.seat.Cloud), farCloud: cloudOf(l.seat.Far.URL),
	}
}

// Room is the room as the client knows it.
func (l *Link) Room() wire.Room {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.room
}

// Serves tells whether the client is in that room by this link already. One that is
// interrupted gives way to another with a new token.
func (l *Link) Serves(s Seat) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole && !l.left && l.seat.Room == s.Room && l.seat.RoomSession == s.RoomSession &&
		l.seat.Far.Signaling == s.Far.Signaling && l.seat.farRoom() == s.farRoom()
}

// Takes tells whether the other server would take a seat for this one taken anew, so
// that one of them ends the other.
func (l *Link) Takes(s Seat) bool {
	return l != nil && l.seat.RoomSession == s.RoomSession && l.seat.farRoom() == s.farRoom()
}

// Send queues what the client says. It never blocks.
func (l *Link) Send(frame []byte) error {
	select {
	case l.out <- frame:
		return nil
	default:
		return errQueue
	}
}

// Close leaves the room. When it returns nothing is heard any more; Run ends soon.
func (l *Link) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
	l.leave()
}

// Client is who a link is for.
type Client interface {
	// Hear takes what is said to the client.
	Hear(frame []byte)
	// Owe says how long to wait after that many bytes of the other server: to read what
	// the client does not hear costs as much.
	Owe(bytes int) time.Duration
	// Away tells that the client has no connection, and perhaps comes back.
	Away() bool
}

// Run hands the client what the other server says, until ctx ends, Close, or the link
// is given up; then it says why.
func (l *Link) Run(ctx context.Context, c Client) error {
	for {
		err := l.relay(ctx, c)
		l.line.cut()
		if ctx.Err() != nil || l.hasLeft() {
			return nil
		}
		if errors.Is(err, ErrReplaced) {
			return err
		}
		l.setWhole(false)
		l.tell(c, wire.FederationInterruptedEvent())
		resumed, err := l.reconnect(ctx, c)
		switch {
		case err != nil && (ctx.Err() != nil || l.hasLeft()):
			return nil
		case errors.Is(err, wire.ErrTokenExpired):
			l.dialer.cfg.Observe("given_up")
			return err
		case err != nil:
			l.dialer.cfg.Observe("given_up")
			return fmt.Errorf("%w: %w", wire.ErrFederationFailed, err) // which clients know
		case resumed:
			l.dialer.cfg.Observe("resumed")
		default:
			l.dialer.cfg.Observe("renewed")
		}
		l.setWhole(true)
		l.tell(c, wire.FederationResumedEvent(resumed))
		if !resumed {
			room := l.Room()
			l.tell(c, wire.ServerMessage{Type: wire.TypeRoom, Room: &room})
		}
	}
}

func (l *Link) hasLeft() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}

// Whole tells whether there is a connection.
func (l *Link) Whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.whole
}

func (l *Link) setWhole(whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.whole = whole
}

func (l *Link) tell(c Client, m wire.ServerMessage) { l.pass(c, wire.Encode(m)) }

// pass hands a frame to the client, unless it has left: that is decided under mu, so
// that nothing comes after the answer to its leaving.
func (l *Link) pass(c Client, frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.left {
		c.Hear(frame)
	}
}

// relay serves one connection until it ends.
func (l *Link) relay(ctx context.Context, c Client) error {
	ctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	names := l.names()
	writer.Go(func() {
		defer cancel()
		l.write(ctx, names)
	})
	defer writer.Wait()
	defer cancel()
	for {
		m, err := l.line.next(ctx)
		if err != nil {
			return err
		}
		if m.Type == wire.TypeBye {
			l.far.resumeID = "" // that session is over
			return m.farewell()
		}
		if frame := names.inward(m); frame != nil {
			l.pass(c, frame)
		}
		if wait := c.Owe(m.size); wait > 0 {
			pause(ctx, l.leaving.Done(), wait)
		}
	}
}

// write sends what the client says, with its session id of there.
func (l *Link) write(ctx context.Context, names *names) {
	if l.held != nil {
		if l.line.write(ctx, names.outward(l.held)) != nil {
			return
		}
		l.held = nil
	}
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.leaving.Done():
			l.part(ctx, names)
			return
		case <-ping.C:
			if l.line.ping(ctx) != nil {
				return
			}
		case frame := <-l.out:
			if l.line.write(ctx, names.outward(frame)) != nil {
				l.held = frame
				return
			}
		}
	}
}

// part sends the last that the client has said, and that it leaves.
func (l *Link) part(ctx context.Context, names *names) {
	for len(l.out) > 0 {
		if l.line.write(ctx, names.outward(<-l.out)) != nil {
			return
		}
	}
	if l.line.write(ctx, wire.Marshal(wire.ClientMessage{Type: wire.TypeBye, Bye: &wire.Bye{}})) == nil {
		pause(ctx, nil, partingTime) // the other server closes
	}
}

// pause waits, or until either ends.
func pause(ctx context.Context, leaving <-chan struct{}, d time.Duration) {
	select {
	case <-time.After(d):
	case <-leaving:
	case <-ctx.Done():
	}
}
