package guesses

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) move(d time.Duration) { c.at = c.at.Add(d) }

func newClock() *clock { return &clock{at: time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)} }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var here = addr("198.51.100.1")

// TestPauses: the first guesses cost nothing, then each doubles the pause, whatever
// the door; what was refused does not count.
func TestPauses(t *testing.T) {
	for _, door := range []Door{Hello, Account, JoinToken, TURNKey} {
		r, known := ruleOf(door)
		if !known {
			t.Fatalf("no rule of %s", door)
		}
		c := newClock()
		b := New(Config{Now: c.now})
		for range r.free {
			if wait := b.Wait(door, "ada", here); wait != 0 {
				t.Fatalf("%s: waits %v at first", door, wait)
			}
			b.Wrong(door, "ada", here)
		}
		pause := r.first
		for i := range 30 {
			if wait := b.Wait(door, "ada", here); wait != pause {
				t.Fatalf("%s, pause %d: %v, want %v", door, i, wait, pause)
			}
			c.move(pause - 1)
			if wait := b.Wait(door, "ada", here); wait != 1 {
				t.Fatalf("%s, pause %d: %v is left", door, i, wait)
			}
			c.move(1)
			if wait := b.Wait(door, "ada", here); wait != 0 {
				t.Fatalf("%s, pause %d is not over: %v", door, i, wait)
			}
			b.Wrong(door, "ada", here)
			pause = min(2*pause, r.longest)
		}
		c.move(r.forget)
		if b.Wrong(door, "ada", here); b.Wait(door, "ada", here) != 0 {
			t.Errorf("%s: not forgotten", door)
		}
	}
}

// TestApart: another door, subject or network is not concerned, and the same network in
// another form is.
func TestApart(t *testing.T) {
	b := New(Config{Now: newClock().now})
	for range 100 {
		b.Wrong(Account, "ada", here)
		b.Wrong(Account, "ada", addr("2001:db8::1"))
		b.Wrong(Account, "ada", netip.Addr{})
	}
	for _, c := range []struct {
		door, subject string
		from          netip.Addr
		waits         bool
	}{
		{Account, "ada", here, true},
		{Account, "ada", addr("198.51.100.77"), true},
		{Account, "ada", addr("::ffff:198.51.100.77"), true},
		{Account, "ada", addr("2001:db8::ffff:1"), true},
		{Account, "ada", addr("2001:db8::2%eth0"), true},
		{Account, "ada", netip.Addr{}, true},
		{Account, "ben", here, false},
		{Hello, "ada", here, false},
		{Account, "ada", addr("198.51.101.1"), false},
		{Account, "ada", addr("2001:db8:0:1::1"), false},
		{"door of nobody", "ada", here, false},
	} {
		if wait := b.Wait(c.door, c.subject, c.from); wait > 0 != c.waits {
			t.Errorf("%s of %s from %s: waits %v", c.door, c.subject, c.from, wait)
		}
	}
}

// TestTries: those at the same time count as wrong until it is known.
func TestTries(t *testing.T) {
	c := newClock()
	b := New(Config{Now: c.now})
	r, _ := ruleOf(Account)
	for range r.free {
		if wait := b.Try(Account, "ada", here); wait != 0 {
			t.Fatalf("waits %v", wait)
		}
	}
	if wait := b.Try(Account, "ada", here); wait != r.first {
		t.Errorf("one more at the same time waits %v", wait)
	}
	b.Undo(Account, "ada", here) // nobody looked
	if wait := b.Try(Account, "ada", here); wait != 0 {
		t.Errorf("after one that was not looked at: waits %v", wait)
	}
	for range r.free {
		b.Wrong(Account, "ada", here)
	}
	if wait := b.Wait(Account, "ada", here); wait != r.first {
		t.Errorf("when all were wrong: waits %v", wait)
	}
	c.move(r.first)
	if wait := b.Try(Account, "ada", here); wait != 0 {
		t.Errorf("after the pause: waits %v", wait)
	}
	b.Right(Account, "ada", here)
	if wait := b.Wait(Account, "ada", here); wait != 0 || b.size() != 0 {
		t.Errorf("after the right one: waits %v, %d counters", wait, b.size())
	}
	b.Undo(Account, "ada", here)
	b.Right(Account, "ada", here)
	if b.size() != 0 {
		t.Errorf("%d counters of nothing", b.size())
	}
}

// TestBounded: who comes with masses of names pushes out those, and not the counter of
// whoever they want to be forgotten.
func TestBounded(t *testing.T) {
	c := newClock()
	b := New(Config{Now: c.now})
	for range 20 {
		b.Wrong(Account, "ada", here)
	}
	for i := range 2 * maxEntries {
		b.Wrong(Account, fmt.Sprint(i), here)
	}
	if b.size() != maxEntries {
		t.Errorf("%d counters, want %d", b.size(), maxEntries)
	}
	if b.Wait(Account, "ada", here) == 0 {
		t.Error("forgotten among many")
	}
	c.move(time.Hour)
	if b.expire(); b.size() != 0 {
		t.Errorf("%d counters after an hour", b.size())
	}
}

// TestSubject: what was typed is kept as a hash, however long it is.
func TestSubject(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	if keyOf(Account, long, here) == keyOf(Account, long+"x", here) {
		t.Error("two subjects are one")
	}
}
