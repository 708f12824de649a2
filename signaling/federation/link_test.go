package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

const (
	patience = 10 * time.Second
	welcome  = `{"type":"welcome","welcome":{"features":["federation"]}}`
	hello    = `{"id":"federation","type":"hello","hello":{"sessionid":"far-session","resumeid":"far-resume"}}`
	room     = `{"id":"federation","type":"room","room":{"roomid":"far-room","properties":{"name":"R"}}}`
)

// farServer is another signaling server, as a test plays it.
type farServer struct {
	t     *testing.T
	web   *httptest.Server
	conns chan *farConn
}

type farConn struct {
	t    *testing.T
	ws   *websocket.Conn
	done chan struct{}
}

func newFarServer(t *testing.T) *farServer { return startFarServer(t, false) }

func startFarServer(t *testing.T, secure bool) *farServer {
	t.Helper()
	f := &farServer{t: t, conns: make(chan *farConn, 16)}
	ctx := t.Context()
	f.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/spreed" {
			http.NotFound(w, r)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		ws.SetReadLimit(wire.MaxFrame)
		c := &farConn{t: t, ws: ws, done: make(chan struct{})}
		f.conns <- c
		select {
		case <-c.done:
		case <-ctx.Done():
		}
		_ = ws.CloseNow()
	}))
	t.Cleanup(f.web.Close)
	if secure {
		f.web.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of who refuses its certificate
		f.web.StartTLS()
	} else {
		f.web.Start()
	}
	return f
}

func (f *farServer) url() string { return "ws" + strings.TrimPrefix(f.web.URL, "http") }

// next is the next connection; it says the first lines at once.
func (f *farServer) next(lines ...string) *farConn {
	f.t.Helper()
	select {
	case c := <-f.conns:
		c.say(lines...)
		return c
	case <-time.After(patience):
		f.t.Fatal("nobody connects")
		return nil
	}
}

func (c *farConn) say(lines ...string) {
	c.t.Helper()
	for _, l := range lines {
		if err := c.ws.Write(context.Background(), websocket.MessageText, []byte(l)); err != nil {
			c.t.Errorf("say: %v", err)
		}
	}
}

// hears waits for a message of the type, and gives it.
func (c *farConn) hears(messageType string) wire.ClientMessage {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, frame, err := c.ws.Read(ctx)
	var m wire.ClientMessage
	if err != nil || json.Unmarshal(frame, &m) != nil || m.Type != messageType {
		c.t.Fatalf("heard %s (%v), want %s", frame, err, messageType)
	}
	return m
}

func (c *farConn) end() { close(c.done) }

func dialer() *Dialer { return NewDialer(Config{Networks: []netip.Prefix{loopback}}) }

func seat(url string) Seat {
	return Seat{
		Session: "near-session", Features: []string{"update-sdp", wire.ClientMove, wire.ClientChatRelay}, Cloud: "https://own.example/cloud/",
		Room: "near-room", RoomSession: "nc",
		Far: wire.Federation{Signaling: url, URL: "https://far.example/", RoomID: "far-room", Token: "the-token"},
	}
}

// joined is a link whose other end the test has.
type joined struct {
	*farServer
	link     *Link
	far      *farConn
	heard    chan string
	read     chan int // bytes
	ended    chan error
	observed chan string
}

func join(t *testing.T) *joined {
	t.Helper()
	j := &joined{farServer: newFarServer(t), heard: make(chan string, 64), read: make(chan int, 1024), ended: make(chan error, 1), observed: make(chan string, 8)}
	d := NewDialer(Config{Networks: []netip.Prefix{loopback}, Observe: func(r string) { j.observed <- r }})
	type outcome struct {
		link *Link
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		link, err := d.Join(t.Context(), seat(j.url()))
		done <- outcome{link, err}
	}()
	j.far = j.next(welcome)
	h := j.far.hears(wire.TypeHello).Hello
	if token, err := h.Auth.Token(); h.Version != wire.Version2 || h.Auth.Type != wire.AuthFederation || h.Auth.URL != "https://far.example/" ||
		token != "the-token" || err != nil || !slices.Equal(h.Features, []string{"update-sdp"}) {
		t.Errorf("hello %+v", h)
	}
	j.far.say(`{"type":"event","event":{"target":"roomlist","type":"update"}}`, hello)
	if r := j.far.hears(wire.TypeRoom).Room; r.RoomID != "far-room" || r.SessionID != "nc" {
		t.Errorf("room %+v", r)
	}
	j.far.say(room)
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	j.link = o.link
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		j.ended <- j.link.Run(ctx, func(frame []byte) { j.heard <- string(frame) }, func(bytes int) time.Duration {
			j.read <- bytes
			return 0
		})
		close(j.ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range j.ended {
			continue
		}
	})
	return j
}

func (j *joined) hears(want string) {
	j.t.Helper()
	select {
	case got := <-j.heard:
		if got != want {
			j.t.Fatalf("heard %s\nwant  %s", got, want)
		}
	case <-time.After(patience):
		j.t.Fatalf("did not hear %s", want)
	}
}

func (j *joined) end() error {
	j.t.Helper()
	select {
	case err := <-j.ended:
		return err
	case <-time.After(patience):
		j.t.Fatal("the link does not end")
		return nil
	}
}

const interrupted = `{"type":"event","event":{"target":"room","type":"federation_interrupted"}}`

// TestUnsupported: a server that takes no federated clients hears no token.
func TestUnsupported(t *testing.T) {
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(`{"type":"welcome","welcome":{"features":["mcu"]}}`)
	if err := <-done; !errors.Is(err, wire.ErrFederation) {
		t.Errorf("error %v", err)
	}
	if _, frame, err := c.ws.Read(t.Context()); err == nil {
		t.Errorf("heard %s", frame)
	}
}

// TestNonsense: whatever the other server says instead of an answer, the client is
// told that there is no connection.
func TestNonsense(t *testing.T) {
	for name, lines := range map[string][]string{
		"not JSON":           {`{`},
		"not UTF-8":          {welcome, "{\"type\":\"x\",\"x\":\"\xff\"}"},
		"no type":            {`{"welcome":{}}`},
		"too large":          {`{"type":"welcome","x":"` + strings.Repeat("x", maxFrame) + `"}`},
		"too deep":           {`{"type":"welcome","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`},
		"another answer":     {welcome, `{"id":"federation","type":"room","room":{"roomid":"x"}}`},
		"hello without ids":  {welcome, `{"id":"federation","type":"hello","hello":{}}`},
		"an id of quotes":    {welcome, `{"id":"federation","type":"hello","hello":{"sessionid":"a\"b"}}`},
		"hello of a number":  {welcome, `{"id":"federation","type":"hello","hello":7}`},
		"hello without body": {welcome, `{"id":"federation","type":"hello"}`},
		"room of a list":     {welcome, hello, `{"id":"federation","type":"room","room":[]}`},
		"too much before":    append([]string{welcome}, slices.Repeat([]string{`{"type":"event"}`}, mostBefore)...),
	} {
		t.Run(name, func(t *testing.T) {
			there := newFarServer(t)
			done := make(chan error, 1)
			go func() {
				_, err := dialer().Join(t.Context(), seat(there.url()))
				done <- err
			}()
			c := <-there.conns
			for _, l := range lines {
				// It may be gone before all is said.
				_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(l))
			}
			if err := <-done; wire.ErrorFor(err).Code != wire.CodeFederationFailed && !errors.Is(err, wire.ErrFederation) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestRefusal: what the other server answers is the answer.
func TestRefusal(t *testing.T) {
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(welcome)
	c.hears(wire.TypeHello)
	c.say(hello)
	c.hears(wire.TypeRoom)
	c.say(`{"id":"federation","type":"error","error":{"code":"no_such_room","message":"not there"}}`)
	if e := wire.ErrorFor(<-done); e.Code != wire.CodeNoSuchRoom || e.Message != "not there" {
		t.Errorf("error %+v", e)
	}
}

// TestNobodySentElsewhere: another server does not send a client of this one elsewhere.
func TestNobodySentElsewhere(t *testing.T) {
	const redirect = `"error":{"code":"redirect","message":"m","details":{"roomid":"r","url":"wss://evil.example/spreed","ticket":"t"}}}`
	there := newFarServer(t)
	done := make(chan error, 1)
	go func() {
		_, err := dialer().Join(t.Context(), seat(there.url()))
		done <- err
	}()
	c := there.next(welcome)
	c.hears(wire.TypeHello)
	c.say(hello)
	c.hears(wire.TypeRoom)
	c.say(`{"id":"federation","type":"error",` + redirect)
	if e := wire.ErrorFor(<-done); e.Code != wire.CodeFederationFailed || e.Details != nil {
		t.Errorf("error %+v", e)
	}
	j := join(t)
	j.far.say(`{"id":"1","type":"error",` + redirect)
	j.hears(`{"id":"1","type":"error","error":{"code":"federation_error","message":"no connection to the other server"}}`)
}

// TestLinkBreaks: the session of before is taken up again; what the client said
// meanwhile goes out then, under its id of there.
func TestLinkBreaks(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	if err := j.link.Send([]byte(`{"type":"message","message":{"data":{"from":"near-session"}}}`)); err != nil {
		t.Fatal(err)
	}
	if j.link.Serves(seat(j.url())) {
		t.Error("serves, though it is interrupted")
	}
	j.far = j.next(welcome)
	if h := j.far.hears(wire.TypeHello).Hello; h.ResumeID != "far-resume" {
		t.Errorf("hello %+v", h)
	}
	j.far.say(hello)
	if m := j.far.hears(wire.TypeMessage); string(m.Message.Data) != `{"from":"far-session"}` {
		t.Errorf("message %s", m.Message.Data)
	}
	j.hears(`{"type":"event","event":{"target":"room","type":"federation_resumed","resumed":true}}`)
	if got := <-j.observed; got != "resumed" {
		t.Errorf("observed %s", got)
	}
}

// TestLinkRenewed: another session, in the same room; what was said is about one that
// is gone.
func TestLinkRenewed(t *testing.T) {
	j := join(t)
	j.far.say(`{"type":"bye"}`)
	j.hears(interrupted)
	if err := j.link.Send([]byte(`{"type":"message","message":{}}`)); err != nil {
		t.Fatal(err)
	}
	j.far = j.next(welcome)
	if h := j.far.hears(wire.TypeHello).Hello; h.Auth == nil {
		t.Errorf("hello %+v", h)
	}
	j.far.say(`{"id":"federation","type":"hello","hello":{"sessionid":"second","resumeid":"r"}}`)
	j.far.hears(wire.TypeRoom)
	j.far.say(room)
	j.hears(`{"type":"event","event":{"target":"room","type":"federation_resumed","resumed":false}}`)
	j.hears(`{"type":"room","room":{"roomid":"near-room","properties":{"name":"R"}}}`)
	j.far.say(`{"type":"event","event":{"target":"room","type":"leave","leave":["second"]}}`)
	j.hears(`{"event":{"leave":["near-session"],"target":"room","type":"leave"},"type":"event"}`)
	j.link.Close()
	j.far.hears(wire.TypeBye)
}

// TestTokenExpired: the other server wants another session, and the token is too old.
func TestTokenExpired(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	j.far = j.next(welcome)
	j.far.hears(wire.TypeHello)
	j.far.say(`{"id":"federation","type":"error","error":{"code":"no_such_session","message":"x"}}`)
	j.far.hears(wire.TypeHello)
	j.far.say(`{"id":"federation","type":"error","error":{"code":"token_expired","message":"x"}}`)
	if err := j.end(); wire.ErrorFor(err).Code != wire.CodeTokenExpired {
		t.Errorf("error %v", err)
	}
	if got := <-j.observed; got != "given_up" {
		t.Errorf("observed %s", got)
	}
}

// TestReplaced: the participant has come with another session.
func TestReplaced(t *testing.T) {
	j := join(t)
	j.far.say(`{"type":"bye","bye":{"reason":"room_session_reconnected"}}`)
	if err := j.end(); !errors.Is(err, ErrReplaced) {
		t.Errorf("error %v", err)
	}
}

// TestAllCounts: also what the client does not hear of has to be read.
func TestAllCounts(t *testing.T) {
	j := join(t)
	const unheard, heard = `{"type":"event","event":{"target":"roomlist","type":"update"}}`, `{"type":"message","message":{"data":1}}`
	j.far.say(unheard, heard)
	j.hears(`{"message":{"data":1},"type":"message"}`)
	for _, frame := range []string{unheard, heard} {
		if got := <-j.read; got != len(frame) {
			t.Errorf("%d bytes, want %d", got, len(frame))
		}
	}
}

// TestLastWords: what the client has said before it leaves is heard.
func TestLastWords(t *testing.T) {
	there := newFarServer(t)
	lines := make(chan *line, 1)
	go func() {
		ln, err := dialer().dial(t.Context(), there.url())
		if err != nil {
			t.Errorf("dial: %v", err)
		}
		lines <- ln
	}()
	c := there.next(welcome)
	l := newLink(dialer(), seat(there.url()), <-lines)
	const last = 32
	for range last {
		if err := l.Send([]byte(`{"type":"message","message":{}}`)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	ended := make(chan error, 1)
	go func() { ended <- l.Run(t.Context(), func([]byte) {}, func(int) time.Duration { return 0 }) }()
	for range last {
		c.hears(wire.TypeMessage)
	}
	c.hears(wire.TypeBye)
	c.end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestLeave: the other server hears it, and the client hears nothing more.
func TestLeave(t *testing.T) {
	j := join(t)
	j.link.Close()
	j.link.Close()
	j.far.hears(wire.TypeBye)
	j.far.say(`{"type":"message","message":{"data":1}}`)
	j.far.end()
	if err := j.end(); err != nil {
		t.Errorf("error %v", err)
	}
	if len(j.heard) > 0 {
		t.Errorf("heard %s", <-j.heard)
	}
}

// TestLeaveInBetween: who leaves while the connection is made again does not come back.
func TestLeaveInBetween(t *testing.T) {
	j := join(t)
	j.far.end()
	j.hears(interrupted)
	c := j.next()
	j.link.Close()
	if err := j.end(); err != nil {
		t.Errorf("error %v", err)
	}
	_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(welcome)) // it has gone
	if _, frame, err := c.ws.Read(t.Context()); err == nil {
		t.Errorf("heard %s", frame)
	}
}

// TestQueueFull: a server that cannot be reached holds up nobody.
func TestQueueFull(t *testing.T) {
	l := &Link{out: make(chan []byte, maxQueued)}
	for n := range maxQueued {
		if err := l.Send(fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Send(nil); wire.ErrorFor(err).Code != wire.CodeFederationFailed {
		t.Errorf("error %v", err)
	}
	l.held = []byte("0")
	if l.forget(); l.held != nil || len(l.out) != 0 {
		t.Error("not forgotten")
	}
}
