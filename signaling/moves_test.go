package signaling

import (
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

const atOnce = 20

func waiting(n int) *moves {
	m := newMoves(atOnce)
	for range n {
		m.waiting[&Session{}] = wire.MoveDrain
	}
	return m
}

// TestSlots: a node that stops sends as many away at one time as it takes to be
// done by then, within bounds.
func TestSlots(t *testing.T) {
	for _, c := range []struct {
		sessions int
		left     time.Duration
		want     int
	}{
		{0, 30 * time.Second, atOnce},
		{70, 30 * time.Second, atOnce},
		{300, 30 * time.Second, 80},
		{300, 20 * time.Second, 120},
		{10_000, 30 * time.Second, mostSlots},
		{50, time.Millisecond, mostSlots},
		{50, -time.Second, mostSlots},
	} {
		if got := newMoves(atOnce).slots(c.sessions, c.left); got != c.want {
			t.Errorf("%d sessions, %v left: %d at once", c.sessions, c.left, got)
		}
	}
	now := time.Now()
	m := waiting(300)
	if got := len(m.take(now)); got != atOnce {
		t.Errorf("without a deadline %d are asked", got)
	}
	m.stop(now.Add(20 * time.Second))
	if got := atOnce + len(m.take(now)); got != 120 {
		t.Errorf("with a deadline %d are asked", got)
	}
}

// TestSilentClients: clients that never answer keep the others waiting no longer
// than those that know how to move need.
func TestSilentClients(t *testing.T) {
	now := time.Now()
	m := waiting(50)
	ask := func(want int) {
		t.Helper()
		if got := len(m.take(now)); got != want {
			t.Errorf("%d are asked, not %d", got, want)
		}
	}
	ask(20)
	now = now.Add(slotTime - time.Millisecond)
	ask(0)
	now = now.Add(time.Millisecond)
	ask(20)
	if late := m.expire(now); late != 0 {
		t.Errorf("%d are late", late)
	}
	now = now.Add(moveTime - slotTime + time.Millisecond)
	if late := m.expire(now); late != 20 {
		t.Errorf("%d are late", late)
	}
	now = now.Add(time.Second)
	ask(10)
}

// TestWarmInTime: the time of a session that warms up runs out in the moment in
// which its client says that it is done.
func TestWarmInTime(t *testing.T) {
	h := lonely(t)
	s := h.newSession("s", identity{}, 2)
	if !h.addWarm(s, time.Hour) || !h.removeWarm(s) {
		t.Fatal("it does not warm up")
	}
	h.tooLate(s)
	if s.mu.Lock(); s.ended {
		t.Error("it has ended")
	}
	s.mu.Unlock()
	s.end("")
}
