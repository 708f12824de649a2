package signaling

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// asked is a carrier that remembers when it was asked.
type asked struct {
	slow
	at      []time.Duration
	began   time.Time
	waiting bool // without an answer
	gone    bool
}

func (a *asked) ask() bool {
	if a.waiting {
		return false
	}
	a.waiting = true
	a.at = append(a.at, time.Since(a.began))
	return true
}

func (a *asked) cut() { a.gone = true }

// TestPingTurns: who comes within a tenth of a second is asked in one turn, again one
// interval after the answer; who does not answer loses the connection.
func TestPingTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lonely(t)
		conns, carriers := make([]*conn, 4), make([]*asked, 4)
		for i := range conns {
			carriers[i] = &asked{began: h.pings.began}
			conns[i] = h.newConn(carriers[i])
			conns[i].ctx, conns[i].cancel = context.WithCancel(t.Context())
			defer conns[i].cancel()
			h.pings.set(conns[i], h.cfg.PingInterval)
			time.Sleep(pingStep / 5) // of the bubble, like all others here
		}
		if len(h.pings.turns) != 1 {
			t.Errorf("%d turns", len(h.pings.turns))
		}
		silent, quits := carriers[1], carriers[2]
		h.pings.forget(conns[2])
		for range 3 {
			time.Sleep(h.cfg.PingInterval + pingStep) // of the bubble
			synctest.Wait()
			for i, c := range carriers {
				if c != silent && c.waiting {
					c.waiting = false
					conns[i].answered()
				}
			}
		}
		synctest.Wait()
		for i, c := range carriers {
			want := 3
			switch c {
			case silent:
				want = 1
			case quits:
				want = 0
			}
			if len(c.at) != want || c.gone != (c == silent) {
				t.Errorf("%d was asked at %v, cut: %v", i, c.at, c.gone)
			}
		}
		if a, b := carriers[0].at, carriers[3].at; a[0] != b[0] || a[0] < h.cfg.PingInterval || a[0] > h.cfg.PingInterval+pingStep {
			t.Errorf("asked at %v and %v", a, b)
		}
		for _, c := range conns {
			h.pings.forget(c)
		}
		if len(h.pings.turns) != 0 {
			t.Errorf("%d turns are left", len(h.pings.turns))
		}
	})
}
