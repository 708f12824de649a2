package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Errors of a client.
var (
	ErrClosed   = errors.New("load: client is closed")
	ErrFlooded  = errors.New("load: more messages than are dealt with")
	ErrBadFrame = errors.New("load: not a message of a server")
	ErrAnswer   = errors.New("load: not the answer to the question")
)

// Clock tells the time since its start; all clients of a run share one.
type Clock func() time.Duration

// NewClock starts a clock.
func NewClock() Clock {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// Credentials is how a client proves who it is: the fields of a hello.
type Credentials struct {
	Type   string // of the authentication; empty: that of a client
	URL    string
	Params json.RawMessage
}

// Client is one participant.
type Client struct {
	network Network
	clock   Clock
	hear    func(wire.ServerMessage) // what is not answered here; nil: nobody is interested
	lost    func(error)              // the socket has ended; nil: so does the client
	ctx     context.Context          // ends with the client; for callbacks, which have none
	end     context.CancelCauseFunc
	tasks   sync.WaitGroup

	session store.SessionID // set before there are peers

	mu      sync.Mutex
	socket  *socket                            // guarded by mu
	closed  bool                               // guarded by mu
	answers map[string]chan wire.ServerMessage // guarded by mu; by the id of the question
	peers   map[peerKey]*peer                  // guarded by mu
	inCall  map[store.SessionID]int            // guarded by mu; flags
	shed    map[string]string                  // guarded by mu; what the node does to video, by sid
	allIn   int                                // guarded by mu; flags of all that are not listed
	news    chan struct{}                      // guarded by mu; closed and replaced when inCall changes
}

// Dial connects to the WebSocket at url.
func Dial(ctx context.Context, url string, clock Clock, via Network) (*Client, error) {
	s, err := open(ctx, url, via.HTTP)
	if err != nil {
		return nil, err
	}
	return newClient(via, clock, s), nil
}

func newClient(n Network, clock Clock, s *socket) *Client {
	c := &Client{
		network: n,
		clock:   clock,
		socket:  s,
		answers: make(map[string]chan wire.ServerMessage),
		peers:   make(map[peerKey]*peer),
		inCall:  make(map[store.SessionID]int),
		shed:    make(map[string]string),
		news:    make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	return c
}

// attach goes on over a socket, whose greeting is over: what comes through it
// is for this client from now on.
func (c *Client) attach(s *socket) {
	c.mu.Lock()
	old := c.socket
	c.socket = s
	c.mu.Unlock()
	if old != s {
		old.close()
	}
	c.spawn(func() { c.read(s) })
}

// Session is the id that the node gave.
func (c *Client) Session() store.SessionID { return c.session }

// Hello says who the client is.
func (c *Client) Hello(ctx context.Context, who Credentials) error {
	s := c.current()
	answer, err := s.greet(ctx, wire.Hello{Version: wire.Version, Features: []string{wire.ClientShed}, Auth: &wire.Auth{Type: who.Type, URL: who.URL, Params: who.Params}})
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	c.session = answer.SessionID
	c.attach(s)
	return nil
}

// Join enters a room.
func (c *Client) Join(ctx context.Context, room string, session wire.RoomSessionID) error {
	answer, err := c.ask(ctx, wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: room, SessionID: session}})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if answer.Room == nil || answer.Room.RoomID != room {
		return fmt.Errorf("join: %w", ErrAnswer)
	}
	return nil
}

// AwaitInCall waits until the node said that somebody is in the call. Before
// that, an offer of his would be refused.
func (c *Client) AwaitInCall(ctx context.Context, session store.SessionID) error {
	for {
		c.mu.Lock()
		flags, listed := c.inCall[session]
		if !listed {
			flags = c.allIn
		}
		news := c.news
		c.mu.Unlock()
		if flags != 0 {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the call: %w", ctx.Err())
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
}

// Close says bye, closes the peer connections and waits for the goroutines.
// Closing again does nothing.
func (c *Client) Close() {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return
	}
	if c.session != "" {
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		_, _ = c.ask(ctx, wire.ClientMessage{Type: wire.TypeBye, Bye: &wire.Bye{}})
		cancel()
	}
	c.drop()
}

// drop ends the client without a word.
func (c *Client) drop() {
	c.mu.Lock()
	c.closed = true
	peers, s := c.peers, c.socket
	c.peers = nil
	c.mu.Unlock()
	c.end(ErrClosed)
	s.close()
	for _, p := range peers {
		p.close()
	}
	c.tasks.Wait()
}

// spawn starts a goroutine that Close waits for, unless the client is closed.
func (c *Client) spawn(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.tasks.Go(f)
	}
}

// ask sends a question and waits for the answer.
func (c *Client) ask(ctx context.Context, m wire.ClientMessage) (wire.ServerMessage, error) {
	answer, err := c.post(ctx, m)
	if err != nil {
		return wire.ServerMessage{}, err
	}
	select {
	case a := <-answer:
		if a.Error != nil {
			return a, a.Error
		}
		return a, nil
	case <-ctx.Done():
		return wire.ServerMessage{}, ctx.Err()
	case <-c.ctx.Done():
		return wire.ServerMessage{}, context.Cause(c.ctx)
	}
}

// post sends a message under a fresh id; the answer may never come.
func (c *Client) post(ctx context.Context, m wire.ClientMessage) (<-chan wire.ServerMessage, error) {
	answer := make(chan wire.ServerMessage, 1)
	c.mu.Lock()
	s := c.socket
	m.ID = s.nextID()
	c.answers[m.ID] = answer
	c.mu.Unlock()
	return answer, s.write(ctx, m)
}

// media sends data about media to a session. Only a refusal is answered with
// the id.
func (c *Client) media(ctx context.Context, m wire.MediaMessage) (<-chan wire.ServerMessage, error) {
	return c.post(ctx, wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{
		Recipient: wire.Recipient{Type: wire.ToSession, SessionID: m.To},
		Data:      m.Encode(),
	}})
}

// current is the socket that the client uses now.
func (c *Client) current() *socket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket
}

// read is the goroutine that reads a socket.
func (c *Client) read(s *socket) {
	for {
		m, err := s.read(c.ctx)
		if err == nil {
			err = c.handle(m)
		}
		switch {
		case err == nil:
		case c.current() != s || c.ctx.Err() != nil:
			return
		case c.lost != nil:
			c.lost(err)
			return
		default:
			c.end(fmt.Errorf("connection to the node: %w", err))
			return
		}
		if c.hear != nil {
			c.hear(m)
		}
	}
}

func (c *Client) handle(m wire.ServerMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.ID != "" {
		if answer, ok := c.answers[m.ID]; ok {
			delete(c.answers, m.ID)
			answer <- m // has room for it
		}
		return nil
	}
	switch {
	case m.Message != nil:
		return c.mediaLocked(m.Message)
	case m.Event != nil && m.Event.Target == wire.TargetParticipants && m.Event.Update != nil:
		return c.participantsLocked(m.Event.Update)
	case m.Event != nil && m.Event.Shed != nil:
		c.shed[m.Event.Shed.SID] = m.Event.Shed.State
	}
	return nil
}

func (c *Client) mediaLocked(d *wire.Deliver) error {
	m, err := wire.DecodeMedia(d.Data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
	if m == nil {
		return nil
	}
	p, ok := c.peers[peerKey{d.Sender.SessionID, m.RoomType}]
	if !ok {
		return nil
	}
	select {
	case p.inbox <- m:
		return nil
	default:
		return ErrFlooded
	}
}

func (c *Client) participantsLocked(u *wire.Update) error {
	if u.All && u.InCall != nil {
		c.allIn = *u.InCall
		clear(c.inCall)
	}
	for _, user := range u.Users {
		var session store.SessionID
		var flags int
		if json.Unmarshal(user["sessionId"], &session) != nil || json.Unmarshal(user["inCall"], &flags) != nil {
			return fmt.Errorf("%w: entry of a participant", ErrBadFrame)
		}
		c.inCall[session] = flags
	}
	close(c.news)
	c.news = make(chan struct{})
	return nil
}

// SocketURL makes the URL of a node's WebSocket. The client is served where it
// comes to, whatever node is the home.
func SocketURL(nodeURL string) string {
	u := strings.TrimSuffix(nodeURL, "/")
	if rest, ok := strings.CutPrefix(u, "http"); ok {
		u = "ws" + rest
	}
	return u + "/spreed?redirect=0"
}
