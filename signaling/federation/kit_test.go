package federation

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
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
	away     atomic.Bool
	asked    chan struct{} // whether it is away
}

// Hear, Owe and Away make it the Client of its link.
func (j *joined) Hear(frame []byte) { j.heard <- string(frame) }

func (j *joined) Owe(bytes int) time.Duration {
	j.read <- bytes
	return 0
}

func (j *joined) Away() bool {
	select {
	case j.asked <- struct{}{}:
	default:
	}
	return j.away.Load()
}

func join(t *testing.T) *joined {
	t.Helper()
	j := &joined{farServer: newFarServer(t), heard: make(chan string, 64), read: make(chan int, 1024), ended: make(chan error, 1), observed: make(chan string, 8), asked: make(chan struct{}, 8)}
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
		j.ended <- j.link.Run(ctx, j)
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
