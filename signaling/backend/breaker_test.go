package backend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func (b *breaker) say(t *testing.T, v verdict) {
	t.Helper()
	try, err := b.enter()
	if err != nil {
		t.Fatal(err)
	}
	b.leave(try, v)
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range 3 { // what is answered in between counts anew
			for range maxSilent - 1 {
				b.say(t, silent)
			}
			b.say(t, answered)
		}
		for range maxSilent {
			b.say(t, silent)
		}
		for wait := openFirst; wait < openMost; wait = min(2*wait, openMost) {
			time.Sleep(wait - 1) // of the bubble
			if _, err := b.enter(); !errors.Is(err, ErrGivenUp) || !b.open() {
				t.Fatalf("asked before %v were over: %v", wait, err)
			}
			time.Sleep(time.Nanosecond) // of the bubble
			if _, err := b.enter(); err != nil {
				t.Fatalf("not tried after %v: %v", wait, err)
			}
			if _, err := b.enter(); !errors.Is(err, ErrGivenUp) {
				t.Fatalf("two try at once: %v", err)
			}
			if opened, closed := b.leave(true, silent); opened || closed {
				t.Error("that is told once")
			}
		}
		// Who gives up trying has decided nothing.
		time.Sleep(openMost) // of the bubble
		b.say(t, undecided)
		b.say(t, answered)
		if b.open() {
			t.Error("open after an answer")
		}
	})
}

// TestBreakerLate: questions from before that come back one after the other, when
// the instance is given up, neither prolong that nor try.
func TestBreakerLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		for range 2 * maxSilent {
			if _, err := b.enter(); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 * maxSilent {
			b.leave(false, silent)
			time.Sleep(openFirst / 20) // of the bubble
		}
		time.Sleep(openFirst) // of the bubble
		b.say(t, answered)
	})
}

func TestBreakerAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker()
		if !b.await(t.Context()) {
			t.Error("closed, and not free")
		}
		for range maxSilent {
			b.say(t, silent)
		}
		began := time.Now()
		if !b.await(t.Context()) || time.Since(began) != openFirst {
			t.Errorf("free after %v", time.Since(began))
		}
		if _, err := b.enter(); err != nil {
			t.Fatal(err)
		}
		done := make(chan bool)
		go func() { done <- b.await(t.Context()) }()
		synctest.Wait()
		b.leave(true, answered)
		if !<-done || time.Since(began) != openFirst {
			t.Errorf("free after %v", time.Since(began))
		}
		for range maxSilent {
			b.say(t, silent)
		}
		ctx, cancel := context.WithTimeout(t.Context(), openFirst/2)
		defer cancel()
		if b.await(ctx) {
			t.Error("waited beyond its context")
		}
	})
}
