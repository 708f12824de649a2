package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

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
	URL    string
	Params json.RawMessage
}

// Client is one participant.
type Client struct {
	loss  *Loss
	clock Clock
	ws    *websocket.Conn
	ctx   context.Context // ends with the client; for callbacks, which have none
	end   context.CancelCauseFunc
	tasks sync.WaitGroup

	session store.SessionID // set by Hello, before there are peers

	mu      sync.Mutex
	closed  bool                               // guarded by mu
	asked   int                                // guarded by mu
	answers map[string]chan wire.ServerMessage // guarded by mu; by the id of the question
	peers   map[store.SessionID]*peer          // guarded by mu; by whom the connection is from
	inCall  map[store.SessionID]int            // guarded by mu; flags
	allIn   int                                // guarded by mu; flags of all that are not listed
	news    chan struct{}                      // guarded by mu; closed and replaced when inCall changes
}

// Limits of what a client takes.
const (
	maxServerFrame = 4 << 20
	maxInbox       = 256
)

// Dial connects to the WebSocket at url. The loss of the network may be nil.
func Dial(ctx context.Context, url string, clock Clock, loss *Loss) (*Client, error) {
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ws.SetReadLimit(maxServerFrame)
	c := &Client{
		loss:    loss,
		clock:   clock,
		ws:      ws,
		answers: make(map[string]chan wire.ServerMessage),
		peers:   make(map[store.SessionID]*peer),
		inCall:  make(map[store.SessionID]int),
		news:    make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.tasks.Go(c.read)
	return c, nil
}

// Session is the id that the node gave.
func (c *Client) Session() store.SessionID { return c.session }

// Hello says who the client is.
func (c *Client) Hello(ctx context.Context, who Credentials) error {
	answer, err := c.ask(ctx, wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version,
		Auth:    &wire.Auth{URL: who.URL, Params: who.Params},
	}})
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	if answer.Hello == nil || answer.Hello.SessionID == "" {
		return fmt.Errorf("hello: %w", ErrAnswer)
	}
	c.session = answer.Hello.SessionID
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
	c.mu.Lock()
	c.closed = true
	peers := c.peers
	c.peers = nil
	c.mu.Unlock()
	c.end(ErrClosed)
	_ = c.ws.CloseNow()
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
	c.asked++
	m.ID = strconv.Itoa(c.asked)
	c.answers[m.ID] = answer
	c.mu.Unlock()
	frame, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return answer, c.ws.Write(ctx, websocket.MessageText, frame)
}

// media sends data about media to a session. Only a refusal is answered with
// the id.
func (c *Client) media(ctx context.Context, m wire.MediaMessage) (<-chan wire.ServerMessage, error) {
	return c.post(ctx, wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{
		Recipient: wire.Recipient{Type: wire.ToSession, SessionID: m.To},
		Data:      m.Encode(),
	}})
}

// read is the reader goroutine.
func (c *Client) read() {
	for {
		_, frame, err := c.ws.Read(c.ctx)
		if err == nil {
			err = c.handle(frame)
		}
		if err != nil {
			c.end(fmt.Errorf("connection to the node: %w", err))
			return
		}
	}
}

func (c *Client) handle(frame []byte) error {
	var m wire.ServerMessage
	if err := json.Unmarshal(frame, &m); err != nil {
		return fmt.Errorf("%w: %w", ErrBadFrame, err)
	}
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
	p, ok := c.peers[d.Sender.SessionID]
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
