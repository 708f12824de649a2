package signalingtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Client is a client of the protocol as a test drives it. What the server says
// lies in a mailbox until an expectation takes it out, so expectations need not
// come in the order of the messages; Next is for tests of the order.
type Client struct {
	// Session and Resume are what the last hello was answered with.
	Session store.SessionID
	Resume  string
	// Server is the last welcome, or what the hello said instead.
	Server wire.ServerInfo

	t      testing.TB
	ws     *websocket.Conn
	asked  int
	closed chan struct{} // closed by the reader at its end

	mu    sync.Mutex
	mail  []letter      // guarded by mu
	news  chan struct{} // guarded by mu; closed and replaced at each message
	cause error         // guarded by mu; why the reader ended
	heard Heard         // guarded by mu
}

// Heard is how much has come from the server.
type Heard struct {
	Messages int // each in a frame of its own
	Bytes    int
}

// letter is a message with the frame it came in, as a message of ours does not
// hold what we do not know.
type letter struct {
	message wire.ServerMessage
	frame   json.RawMessage
}

// maxServerFrame is what a client takes from a server; a list of participants
// may be long.
const maxServerFrame = 4 << 20

// Dial connects to a node: its base URL, to which /spreed is added, or the whole
// URL of its WebSocket.
func Dial(t testing.TB, nodeURL string) *Client {
	t.Helper()
	return mustDial(t, nodeURL, nil)
}

// DialPage is Dial as a page in a browser does it: with an Origin.
func DialPage(t testing.TB, nodeURL string) *Client {
	t.Helper()
	return mustDial(t, nodeURL, http.Header{"Origin": {"https://cloud.example"}})
}

func mustDial(t testing.TB, nodeURL string, header http.Header) *Client {
	t.Helper()
	c, err := dial(t, nodeURL, header)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	return c
}

// DialStatus connects and returns the status of the HTTP answer, for tests of
// refused upgrades.
func DialStatus(t testing.TB, nodeURL string, header http.Header) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, resp, err := websocket.Dial(ctx, socketURL(nodeURL), &websocket.DialOptions{
		HTTPHeader: header,
		// A client that follows redirects could not tell them.
		HTTPClient: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if err == nil {
		_ = ws.CloseNow()
	}
	if resp == nil {
		t.Fatalf("connect: %v", err)
	}
	return resp.StatusCode
}

func dial(t testing.TB, nodeURL string, header http.Header) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, socketURL(nodeURL), &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxServerFrame)
	c := &Client{t: t, ws: ws, closed: make(chan struct{}), news: make(chan struct{})}
	go c.read()
	t.Cleanup(c.Cut)
	return c, nil
}

func socketURL(nodeURL string) string {
	u := strings.TrimSuffix(nodeURL, "/")
	if rest, ok := strings.CutPrefix(u, "http"); ok {
		u = "ws" + rest
	}
	if base, query, _ := strings.Cut(u, "?"); !strings.HasSuffix(base, "/spreed") {
		u = base + "/spreed"
		if query != "" {
			u += "?" + query
		}
	}
	return u
}

// Cut drops the connection without a word, as a network does, and waits for the
// reader.
func (c *Client) Cut() {
	_ = c.ws.CloseNow()
	<-c.closed
}

// read is the reader goroutine.
func (c *Client) read() {
	defer close(c.closed)
	for {
		kind, frame, err := c.ws.Read(context.Background())
		if err != nil {
			c.end(err)
			return
		}
		var m wire.ServerMessage
		if kind != websocket.MessageText {
			c.end(errors.New("a binary frame"))
			return
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			c.end(err)
			return
		}
		c.mu.Lock()
		c.mail = append(c.mail, letter{m, frame})
		c.heard.Messages++
		c.heard.Bytes += len(frame)
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
	}
}

func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = err
	close(c.news)
	c.news = make(chan struct{})
}

// SendRaw sends one text frame as it is.
func (c *Client) SendRaw(frame []byte) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// Send sends a message.
func (c *Client) Send(m wire.ClientMessage) {
	c.t.Helper()
	c.SendRaw(encode(c.t, m))
}

// Ask sends a message under a fresh id and waits for the answer.
func (c *Client) Ask(m wire.ClientMessage) wire.ServerMessage {
	c.t.Helper()
	c.asked++
	m.ID = "q" + strconv.Itoa(c.asked)
	c.Send(m)
	return c.Expect("answer to "+m.Type, func(s *wire.ServerMessage) bool { return s.ID == m.ID })
}

// Expect takes the first message out of the mailbox that is what is meant, and
// waits for it if it is not there yet.
func (c *Client) Expect(what string, is func(*wire.ServerMessage) bool) wire.ServerMessage {
	c.t.Helper()
	return c.expect(what, func(l *letter) bool { return is(&l.message) }).message
}

func (c *Client) expect(what string, is func(*letter) bool) letter {
	c.t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		l, found, news, cause := c.take(is)
		if found {
			return l
		}
		if cause != nil {
			c.t.Fatalf("%s: connection ended: %v; unread: %s", what, cause, c.unread())
		}
		select {
		case <-news:
		case <-deadline.C:
			c.t.Fatalf("%s: not within %v; unread: %s", what, Patience, c.unread())
		}
	}
}

// Next takes the first message out of the mailbox.
func (c *Client) Next() wire.ServerMessage {
	c.t.Helper()
	return c.Expect("next message", func(*wire.ServerMessage) bool { return true })
}

// ExpectType waits for a message of the type.
func (c *Client) ExpectType(messageType string) wire.ServerMessage {
	c.t.Helper()
	return c.Expect(messageType, func(m *wire.ServerMessage) bool { return m.Type == messageType })
}

// ExpectEvent waits for an event of the target and type.
func (c *Client) ExpectEvent(target, eventType string) *wire.Event {
	c.t.Helper()
	return c.Expect(target+"/"+eventType, func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Target == target && m.Event.Type == eventType
	}).Event
}

// ExpectError waits for an error with the code.
func (c *Client) ExpectError(code wire.Code) wire.ServerMessage {
	c.t.Helper()
	return c.Expect("error "+string(code), func(m *wire.ServerMessage) bool {
		return m.Error != nil && m.Error.Code == code
	})
}

// ExpectMedia waits for data about media of the type.
func (c *Client) ExpectMedia(mediaType wire.MediaType) *wire.MediaMessage {
	c.t.Helper()
	var media *wire.MediaMessage
	c.Expect("media "+string(mediaType), func(m *wire.ServerMessage) bool {
		if m.Message == nil {
			return false
		}
		found, err := wire.DecodeMedia(m.Message.Data)
		if err != nil || found == nil || found.Type != mediaType {
			return false
		}
		media = found
		return true
	})
	return media
}

// ExpectClose waits until the server closes the connection, and returns the
// status it gave, or -1 if it gave none.
func (c *Client) ExpectClose() websocket.StatusCode {
	c.t.Helper()
	select {
	case <-c.closed:
	case <-time.After(Patience):
		c.t.Fatalf("close: not within %v; unread: %s", Patience, c.unread())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return websocket.CloseStatus(c.cause)
}

// Barrier waits until the server has dealt with all that this client sent: it
// sends a message to itself, and messages of one session keep their order. What
// goes by way of another node is not covered.
func (c *Client) Barrier() {
	c.t.Helper()
	c.asked++
	data := encode(c.t, map[string]any{"type": "barrier", "n": c.asked})
	c.Send(wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{
		Recipient: wire.Recipient{Type: wire.ToSession, SessionID: c.Session},
		Data:      data,
	}})
	c.Expect("barrier", func(m *wire.ServerMessage) bool {
		return m.Message != nil && string(m.Message.Data) == string(data)
	})
}

// ExpectNone fails if such a message is in the mailbox. It does not wait: a test
// first waits for something that comes after, such as Barrier.
func (c *Client) ExpectNone(what string, is func(*wire.ServerMessage) bool) {
	c.t.Helper()
	if l, found, _, _ := c.take(func(l *letter) bool { return is(&l.message) }); found {
		c.t.Fatalf("%s: came all the same: %s", what, l.frame)
	}
}

// Drain takes out and returns all messages of the mailbox.
func (c *Client) Drain() []wire.ServerMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]wire.ServerMessage, len(c.mail))
	for i, l := range c.mail {
		all[i] = l.message
	}
	c.mail = nil
	return all
}

// Heard is how much has come so far, read or not.
func (c *Client) Heard() Heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

func (c *Client) take(is func(*letter) bool) (l letter, found bool, news <-chan struct{}, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.mail {
		if is(&c.mail[i]) {
			l = c.mail[i]
			c.mail = slices.Delete(c.mail, i, i+1)
			return l, true, nil, nil
		}
	}
	return l, false, c.news, c.cause
}

// unreadFrames is what is in the mailbox.
func (c *Client) unreadFrames() []json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := make([]json.RawMessage, len(c.mail))
	for i, l := range c.mail {
		frames[i] = l.frame
	}
	return frames
}

// takeAt takes one of those out.
func (c *Client) takeAt(i int) letter {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.mail[i]
	c.mail = slices.Delete(c.mail, i, i+1)
	return l
}

// more is closed when something comes, or nothing ever will.
func (c *Client) more() (news <-chan struct{}, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.news, c.cause != nil
}

// unread shows the mailbox for the message of a failed test.
func (c *Client) unread() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mail) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for _, l := range c.mail {
		b.WriteString("\n  ")
		b.Write(l.frame)
	}
	return b.String()
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}
