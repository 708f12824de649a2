package signaling

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/talkd/talkd/signaling/wire"
)

// TestAcceptFails: whatever happens while a socket is made, the node does not wait for it
// when it stops.
func TestAcceptFails(t *testing.T) {
	h := lonely(t) // stops at the end of the test
	for name, w := range map[string]http.ResponseWriter{"no socket": httptest.NewRecorder(), "a fault": faultyWriter{}} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/spreed", nil)
		for header, value := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		} {
			r.Header.Set(header, value)
		}
		func() {
			defer func() { _ = recover() }()
			h.socket(w, r)
		}()
		if h.tasks != 0 {
			t.Errorf("%s: %d tasks", name, h.tasks)
			h.tasks = 0
		}
	}
}

type faultyWriter struct{ http.ResponseWriter }

func (faultyWriter) Header() http.Header { return http.Header{} }

func (faultyWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("a fault") }

// faulty is a carrier of what our code cannot deal with.
type faulty struct{ carrier }

func (faulty) read(context.Context) ([]byte, error) { panic("a fault") }
func (faulty) try(f [][]byte, _ bool) (int, error)  { return len(f), nil }
func (faulty) due() bool                            { return false }
func (faulty) cut()                                 {}
func (faulty) unheard() [][]byte                    { return nil }

// TestConnectionFails: the node lives on, and the session waits for its client.
func TestConnectionFails(t *testing.T) {
	h := lonely(t)
	s := h.newSession("one", identity{}, 1)
	c := h.newConn(faulty{})
	if !s.attach(c) {
		t.Fatal("not attached")
	}
	c.begin(s, wire.ServerMessage{Type: wire.TypeHello})
	c.serve(h.ctx)
	<-c.done
	if s.conn != nil || s.expiry == nil {
		t.Error("the session still has the connection")
	}
	s.end("")
}
