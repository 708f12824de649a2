package api

import (
	"fmt"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"
)

func keyOf(user, address string) throttleKey {
	return throttleKey{user, network(netip.MustParseAddr(address))}
}

func TestThrottleRises(t *testing.T) {
	c := &clock{at: t0}
	th := newThrottle(c.now)
	k := keyOf("ada", "198.51.100.1")
	for i := range freeTries {
		if wait := th.take(k); wait != 0 {
			t.Fatalf("try %d: wait %v", i, wait)
		}
	}
	pause := firstPause
	for i := range 20 {
		if wait := th.take(k); wait != pause {
			t.Fatalf("pause %d: %v, want %v", i, wait, pause)
		}
		c.move(pause - time.Nanosecond)
		if wait := th.take(k); wait != time.Nanosecond {
			t.Fatalf("pause %d: %v is left", i, wait)
		}
		c.move(time.Nanosecond)
		if wait := th.take(k); wait != 0 {
			t.Fatalf("pause %d is not over: %v", i, wait)
		}
		pause = min(2*pause, longestPause)
	}
	// Somebody else, and the same user elsewhere, are not concerned.
	for _, other := range []throttleKey{keyOf("ben", "198.51.100.1"), keyOf("ada", "198.51.101.1"), keyOf("ada", "2001:db8::1")} {
		if wait := th.take(other); wait != 0 {
			t.Errorf("%v waits %v", other, wait)
		}
	}
	if wait := th.take(keyOf("ada", "::ffff:198.51.100.77")); wait == 0 {
		t.Error("the same network in another form is free")
	}
	th.forgive(k)
	if wait := th.take(k); wait != 0 {
		t.Errorf("after the right password: %v", wait)
	}
}

func TestThrottleForgets(t *testing.T) {
	c := &clock{at: t0}
	th := newThrottle(c.now)
	k := keyOf("ada", "2001:db8::1")
	for range freeTries {
		th.take(k)
	}
	if th.take(keyOf("ada", "2001:db8::ffff:1")) == 0 {
		t.Error("the same /64 is free")
	}
	c.move(forgetAfter)
	for i := range freeTries {
		if wait := th.take(k); wait != 0 {
			t.Errorf("try %d after a while: %v", i, wait)
		}
	}
}

func TestThrottleUndo(t *testing.T) {
	c := &clock{at: t0}
	th := newThrottle(c.now)
	k := keyOf("ada", "198.51.100.1")
	for range 3 * freeTries { // none of them was looked at
		if wait := th.take(k); wait != 0 {
			t.Fatalf("wait %v", wait)
		}
		th.undo(k)
	}
	th.undo(k)
	if len(th.entries) != 0 {
		t.Errorf("%d entries", len(th.entries))
	}
}

func TestThrottleIsBounded(t *testing.T) {
	c := &clock{at: t0}
	th := newThrottle(c.now)
	for i := range maxThrottled + 500 {
		th.take(throttleKey{user: fmt.Sprint(i)})
		c.move(time.Millisecond)
	}
	if len(th.entries) != maxThrottled {
		t.Errorf("%d entries, want %d", len(th.entries), maxThrottled)
	}
}

func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ remote, want string }{
		{"198.51.100.1:4711", "198.51.100.1"},
		{"[2001:db8::1]:4711", "2001:db8::1"},
		{"[::ffff:198.51.100.1]:4711", "198.51.100.1"},
		{"@", "invalid IP"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.remote
		if got := clientOf(r).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.remote, got, c.want)
		}
	}
	if network(netip.Addr{}) != (netip.Prefix{}) {
		t.Error("no address has a network")
	}
}
