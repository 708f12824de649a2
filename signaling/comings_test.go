package signaling

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// TestComings: who comes after a while is told of at once, who comes soon after
// somebody else with those who follow, and nothing else overtakes that or waits for it.
func TestComings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		r := &replica{
			hub: h, id: store.RoomID{Name: "room"}, news: make(chan struct{}),
			members: make(map[store.SessionID]*signalpb.Member), local: make(map[store.SessionID]*Session),
		}
		s := &Session{hub: h, id: "here"}
		w := &writes{at: make(map[time.Time][]string)}
		c := h.newConn(w)
		c.ctx, c.cancel = context.WithCancel(t.Context())
		c.served = true
		defer c.cancel()
		c.session, s.conn, s.mostQueued = s, c, maxQueued
		r.local[s.id] = s
		comes := func(who string) {
			r.order.Lock()
			defer r.order.Unlock()
			r.mu.Lock()
			after := r.joinedLocked(&signalpb.Member{Session: who, Edge: "elsewhere"})
			r.mu.Unlock()
			after.run()
		}
		heard := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after) // of the bubble
			synctest.Wait()
			w.mu.Lock()
			defer w.mu.Unlock()
			got := w.at[time.Now()]
			if !slices.EqualFunc(got, want, strings.Contains) {
				t.Errorf("heard %q, want %q", got, want)
			}
		}
		time.Sleep(time.Second) // of the bubble, like all others here
		comes("anna")
		heard(0, "anna")
		time.Sleep(time.Millisecond)
		comes("ben")
		heard(0)
		time.Sleep(time.Millisecond)
		comes("carla")
		heard(0)
		heard(comingsHold-2*time.Millisecond, "ben", "carla")
		time.Sleep(time.Millisecond)
		comes("dora")
		heard(0)
		s.send([]byte("to one"))
		heard(0, "dora", "to one")
		heard(comingsHold - time.Millisecond)
		time.Sleep(time.Second)
		comes("emil")
		heard(0, "emil")
	})
}
