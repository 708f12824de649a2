package signaling

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
)

// slow is a carrier that takes one frame at once; for more, somebody has to wait.
type slow struct {
	carrier
	ready chan struct{} // who waits may go on
	took  []string
}

func (s *slow) due() bool { return false }

func (s *slow) try(frames [][]byte, _ bool) (int, error) {
	s.took = append(s.took, "at once "+string(frames[0]))
	if len(frames) > 1 {
		return 1, errPatience
	}
	return 1, nil
}

func (s *slow) write(_ context.Context, frames [][]byte, _ bool) (int, error) {
	<-s.ready
	for _, f := range frames {
		s.took = append(s.took, "later "+string(f))
	}
	return len(frames), nil
}

func (s *slow) close(websocket.StatusCode) {}

// TestWriters: a client that has to be waited for holds up nobody else, and gets
// everything in order.
func TestWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		client := func() (*Session, *slow) {
			over := &slow{ready: make(chan struct{})}
			s, c := &Session{hub: h}, h.newConn(over)
			c.ctx, c.cancel = context.WithCancel(t.Context())
			c.served, c.session, s.conn, s.mostQueued = true, s, c, maxQueued
			return s, over
		}
		say := func(s *Session, texts ...string) {
			for _, text := range texts {
				s.enqueue([]byte(text))
			}
			s.unsent().wakeUp()
			synctest.Wait()
		}
		took := func(who *slow, want ...string) {
			t.Helper()
			if !slices.Equal(who.took, want) {
				t.Errorf("took %q, want %q", strings.Join(who.took, ", "), strings.Join(want, ", "))
			}
			who.took = nil
		}
		one, first := client()
		other, second := client()
		say(one, "a", "b", "c")
		say(other, "d")
		say(one, "e")
		took(first, "at once a")
		took(second, "at once d")
		close(first.ready)
		synctest.Wait()
		took(first, "later b", "later c", "later e")
		say(one, "f")
		took(first, "at once f")
		for _, s := range []*Session{one, other} {
			s.conn.stop()
			s.conn.writer.Wait()
		}
		h.writers.running.Wait()
	})
}

// TestWritersMany: however many are due at once, each is written to.
func TestWritersMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		var due []*conn
		for range 10 * perWriter {
			c := h.newConn(&slow{})
			c.ctx, c.cancel = context.WithCancel(t.Context())
			c.served, c.direct = true, [][]byte{[]byte("a")}
			if !c.wantsWriter() || c.wantsWriter() {
				t.Fatal("one writer is wanted, once")
			}
			due = append(due, c)
		}
		h.writers.add(due...)
		h.writers.running.Wait()
		for _, c := range due {
			if took := c.carrier.(*slow).took; len(took) != 1 || c.writes {
				t.Fatalf("one has taken %q", took)
			}
			c.cancel()
		}
	})
}
