package signaling

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
)

func TestThrottleArithmetic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := newThrottle(), newThrottle()
		guesser, neighbour := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		other := netip.MustParseAddr("192.0.2.1")
		for range 25 {
			here.failed(guesser)
			there.failed(neighbour) // of the same customer
		}
		there.failed(other)
		if !here.allowed(guesser) || !there.allowed(guesser) {
			t.Error("slowed down before the nodes have heard of each other")
		}
		here.heard(there.news(), time.Now())
		there.heard(here.news(), time.Now())
		if here.allowed(guesser) || there.allowed(neighbour) {
			t.Error("50 guesses at two nodes are not 50")
		}
		if !here.allowed(other) {
			t.Error("another address is slowed down")
		}
		if here.news() != nil || there.news() != nil {
			t.Error("what others have told is told again")
		}
		time.Sleep(21 * time.Second) // virtual: one in 2 s is forgotten
		if !here.allowed(guesser) {
			t.Error("slowed down for ever")
		}

		// However much another node says, an address is not kept out for long.
		raw, err := netip.PrefixFrom(other, 32).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			here.heard(&signalpb.Guesses{From: []*signalpb.Guess{{Prefix: raw, Times: 1 << 31}, {Prefix: []byte("x"), Times: 1}, {}}}, time.Now())
		}
		if here.allowed(other) {
			t.Error("not slowed down")
		}
		time.Sleep(longestForgot - failuresAtOnce*failureForgot + time.Second) // of the bubble
		if !here.allowed(other) {
			t.Error("kept out for too long")
		}
		time.Sleep(longestForgot) // of the bubble
		here.expire(time.Now())
		if len(here.until) > 0 || len(here.untold) > 0 {
			t.Errorf("%d and %d are left", len(here.until), len(here.untold))
		}
	})
}

// TestThrottleBounded: many addresses at once are neither remembered nor told all.
func TestThrottleBounded(t *testing.T) {
	here := newThrottle()
	for i := range maxThrottled + 10 {
		here.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(here.until) != maxThrottled || len(here.untold) != maxThrottled {
		t.Errorf("%d and %d are remembered", len(here.until), len(here.untold))
	}
	told := 0
	for g := here.news(); g != nil; g = here.news() {
		if len(g.GetFrom()) > maxGuesses {
			t.Fatalf("%d told at once", len(g.GetFrom()))
		}
		told += len(g.GetFrom())
	}
	if told != maxThrottled {
		t.Errorf("%d told", told)
	}
}
