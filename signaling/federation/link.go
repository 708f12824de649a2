package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// Run hands the client what the other server says, until ctx ends, Close, or the link
// is given up; then it says why. pace answers how long to wait after that many bytes
// of the other server: to read what the client does not hear costs as much.
func (l *Link) Run(ctx context.Context, hear func(frame []byte), pace func(bytes int) time.Duration) error {
	for {
		err := l.relay(ctx, hear, pace)
		l.line.cut()
		if ctx.Err() != nil || l.hasLeft() {
			return nil
		}
		if errors.Is(err, ErrReplaced) {
			return err
		}
		l.setWhole(false)
		l.tell(hear, wire.FederationInterruptedEvent())
		resumed, err := l.reconnect(ctx)
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
		l.tell(hear, wire.FederationResumedEvent(resumed))
		if !resumed {
			room := l.Room()
			l.tell(hear, wire.ServerMessage{Type: wire.TypeRoom, Room: &room})
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

func (l *Link) tell(hear func([]byte), m wire.ServerMessage) { l.pass(hear, wire.Encode(m)) }

// pass hands a frame to the client, unless it has left: that is decided under mu, so
// that nothing comes after the answer to its leaving.
func (l *Link) pass(hear func([]byte), frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.left {
		hear(frame)
	}
}

// relay serves one connection until it ends.
func (l *Link) relay(ctx context.Context, hear func([]byte), pace func(int) time.Duration) error {
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
			if m.Bye.Reason == wire.ByeRoomSession {
				return ErrReplaced
			}
			l.far.resumeID = "" // that session is over
			return errBroken
		}
		if frame := names.inward(m); frame != nil {
			l.pass(hear, frame)
		}
		if wait := pace(m.size); wait > 0 {
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

// reconnect makes the connection again, with the session of before if it is still
// there.
func (l *Link) reconnect(ctx context.Context) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	defer context.AfterFunc(l.leaving, cancel)() // not to take the place of the next link
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		pause(ctx, l.leaving.Done(), wait/2+rand.N(wait))
		if l.hasLeft() || ctx.Err() != nil {
			return false, cmp.Or(err, wire.ErrFederationFailed)
		}
		if resumed, err = l.again(ctx); err == nil || !passing(err) {
			return resumed, err
		}
	}
}

// passing tells whether it is of use to ask again.
func passing(err error) bool {
	return errors.Is(err, wire.ErrFederationFailed) || errors.Is(err, wire.ErrProcessingFailed) || errors.Is(err, wire.ErrTooManyRequests)
}

// again is one attempt.
func (l *Link) again(ctx context.Context) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ln, err := l.dialer.dial(ctx, l.seat.Far.Signaling)
	if err != nil {
		return false, err
	}
	if l.far.resumeID != "" {
		far, err := ln.hello(ctx, wire.Hello{Version: wire.Version, ResumeID: l.far.resumeID})
		if err == nil {
			l.far, l.line = session{far.id, cmp.Or(far.resumeID, l.far.resumeID)}, ln
			return true, nil
		}
		if !errors.Is(err, wire.ErrNoSuchSession) {
			ln.cut()
			return false, err
		}
		l.far.resumeID = ""
	}
	if err := l.enter(ctx, ln); err != nil {
		ln.cut()
		return false, err
	}
	l.line = ln
	l.forget()
	return false, nil
}

// forget drops what waits: it was about connections of the session of before.
func (l *Link) forget() {
	l.held = nil
	for {
		select {
		case <-l.out:
		default:
			return
		}
	}
}
