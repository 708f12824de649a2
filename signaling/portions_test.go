package signaling

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/store"
)

// writes is a carrier that remembers what was written when.
type writes struct {
	carrier
	mu sync.Mutex
	at map[time.Time][]string // guarded by mu
}

func (w *writes) due() bool { return false }

func (w *writes) try(frames [][]byte, _ bool) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range frames {
		w.at[time.Now()] = append(w.at[time.Now()], string(f))
	}
	return len(frames), nil
}

func (w *writes) close(websocket.StatusCode) {}

// TestPortions: what is said to a room after a silence goes out at once, and what
// follows soon with what follows it, until that is a full portion; what else a client is told waits for nothing and
// overtakes nothing.
func TestPortions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		r := &replica{hub: h, local: make(map[store.SessionID]*Session)}
		s := &Session{hub: h}
		w := &writes{at: make(map[time.Time][]string)}
		c := h.newConn(w)
		c.ctx, c.cancel = context.WithCancel(t.Context())
		c.served = true
		defer c.cancel()
		c.session, s.conn, s.mostQueued = s, c, maxQueued
		r.local["one"] = s
		const listeners = 1000
		others := make([]*Session, listeners-1)
		for i := range others {
			others[i] = &Session{hub: h}
		}
		say := func(text string) {
			r.order.Lock()
			defer r.order.Unlock()
			r.spread(append(others, s), []byte(text))
			synctest.Wait()
		}
		heard := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after) // of the bubble
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			if got := w.at[time.Now()]; !slices.Equal(got, want) {
				t.Errorf("heard %q, want %q", got, want)
			}
		}
		time.Sleep(time.Second) // of the bubble, like all others here
		say("a")
		heard(0, "a")
		time.Sleep(time.Millisecond) // of the bubble
		say("b")
		heard(0)
		time.Sleep(time.Millisecond) // of the bubble
		say("c")
		heard(0)
		heard(maxHold-time.Millisecond, "b", "c")
		time.Sleep(time.Millisecond) // of the bubble
		say("d")
		heard(0)
		s.send([]byte("to one"))
		heard(0, "d", "to one")
		heard(maxHold - time.Millisecond)
		time.Sleep(time.Second) // of the bubble
		say("e")
		heard(0, "e")
		var portion []string
		for i := range fullPortion {
			time.Sleep(time.Millisecond / 4) // of the bubble
			portion = append(portion, fmt.Sprint(i))
			say(portion[i])
			if i < fullPortion-1 {
				heard(0)
			}
		}
		heard(0, portion...)
		say("f")
		heard(maxHold - time.Nanosecond)
		heard(time.Nanosecond, "f")
	})
}
