package signaling

import (
	"context"
	"testing"

	"github.com/talkd/talkd/signaling/wire"
)

// faulty is a carrier of what our code cannot deal with.
type faulty struct{ carrier }

func (faulty) read(context.Context) ([]byte, error)                     { panic("a fault") }
func (faulty) write(_ context.Context, f [][]byte, _ bool) (int, error) { return len(f), nil }
func (faulty) try(f [][]byte, _ bool) (int, error)                      { return len(f), nil }
func (faulty) cut()                                                     {}
func (faulty) unheard() [][]byte                                        { return nil }

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
