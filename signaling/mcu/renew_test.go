package mcu_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
)

// listening is a stage on which alice's publication is received and answered.
func listening(t *testing.T, kind string, test func(t *testing.T, s *stage, first *fakeSubscriber)) {
	t.Helper()
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, kind, 1))
		s.say(alice, requestOffer(kind, ""))
		s.say(alice, answer(kind, s.lastSID()))
		first := s.engine.subscriber(t, 0)
		first.want(t, "answer-"+s.lastSID())
		s.host.take()
		test(t, s, first)
	})
}

func TestRebind(t *testing.T) {
	listening(t, "video", func(t *testing.T, s *stage, first *fakeSubscriber) {
		s.announce(publication(alice, "video", 2))
		s.withdraw(publication(alice, "video", 1).ID)
		first.want(t, "rebind alice/video/0.2")
		pass(60) // the end of the old one was not that of the new one

		// What is old or the same changes nothing, nor does another kind.
		s.announce(publication(alice, "video", 2))
		s.Announced(publication(alice, "video", 1))
		s.announce(publication(alice, "screen", 7))
		synctest.Wait()
		first.want(t)

		// A session that came back without its media starts a new incarnation.
		back := publication(alice, "video", 1)
		back.ID.Incarnation = 1
		s.announce(back)
		first.want(t, "rebind alice/video/1.1")
		pass(120)
		if _, n := s.Counts(); n != 1 {
			t.Error("the connection was given up")
		}
		s.wantSaid() // all under one sid
	})
}

func TestRebindNotPossible(t *testing.T) {
	listening(t, "video", func(t *testing.T, s *stage, first *fakeSubscriber) {
		first.rebind = func(media.Publication) error { return media.ErrIncompatible }
		s.announce(publication(alice, "video", 2))
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.2")
		if first.closes() != 1 {
			t.Error("the old connection is open")
		}
		s.wantOutcome(s.say(alice, answer("video", s.lastSID())), "ok")
	})
}

func TestRenewFails(t *testing.T) {
	listening(t, "video", func(t *testing.T, s *stage, first *fakeSubscriber) {
		var works atomic.Bool
		s.engine.onSubscribe = func(context.Context, media.SubscribeRequest) error {
			if works.Load() {
				return nil
			}
			return media.ErrNotFound
		}
		never := func(media.Publication) error { return media.ErrIncompatible }
		first.rebind = never
		s.engine.onRebind = never
		s.announce(publication(alice, "video", 2))
		pass(5)
		// A request of the client takes the work over.
		o := s.say(alice, requestOffer("video", ""))
		pass(5)
		s.wantOutcome(o, "waiting")
		works.Store(true)
		pass(5)
		s.wantOutcome(o, "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.2")

		// Without one the connection is given up.
		works.Store(false)
		s.announce(publication(alice, "video", 3))
		pass(15)
		if _, n := s.Counts(); n != 0 {
			t.Error("the connection is open")
		}
	})
}

// A publisher whose connection failed publishes again within seconds.
func TestWithdrawnVideoLingers(t *testing.T) {
	listening(t, "video", func(t *testing.T, s *stage, first *fakeSubscriber) {
		s.withdraw(publication(alice, "video", 1).ID)
		pass(20)
		s.announce(publication(alice, "video", 2))
		pass(60)
		first.want(t, "rebind alice/video/0.2")

		// It was announced again to a new home: not the end after all.
		s.withdraw(publication(alice, "video", 2).ID)
		s.announce(publication(alice, "video", 2))
		pass(60)
		first.want(t)
		if first.closes() != 0 {
			t.Fatal("the connection was given up")
		}

		// A request while nothing is published waits; the old connection serves
		// until it is replaced.
		s.withdraw(publication(alice, "video", 2).ID)
		o := s.say(alice, requestOffer("video", ""))
		pass(5)
		s.announce(publication(alice, "video", 3))
		s.wantOutcome(o, "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.3")
		if first.closes() != 1 {
			t.Error("the old connection is open")
		}

		s.say(alice, answer("video", s.lastSID()))
		s.withdraw(publication(alice, "video", 3).ID)
		pass(31)
		if s.engine.subscriber(t, 1).closes() != 1 {
			t.Error("kept for ever")
		}
		s.announce(publication(alice, "video", 4))
		s.wantSaid()
	})
}

func TestRenewedWhileUnanswered(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.announce(publication(alice, "video", 2))
		s.engine.subscriber(t, 0).want(t, "rebind alice/video/0.2")
		pass(61)
		if _, n := s.Counts(); n != 0 {
			t.Error("still waits for an answer")
		}
	})
}

func TestAnsweredAfterTheEnd(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.withdraw(publication(alice, "video", 1).ID)
		s.wantOutcome(s.say(alice, answer("video", s.lastSID())), "ok")
		pass(31)
		if s.engine.subscriber(t, 0).closes() != 1 {
			t.Error("kept for ever")
		}
	})
}

// News that come while an offer is being made are not lost, and do not pile up.
func TestRenewedWhileSubscribing(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		hold := make(chan struct{})
		s.engine.onSubscribe = func(context.Context, media.SubscribeRequest) error { <-hold; return nil }
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		for g := uint32(2); g < 200; g++ {
			s.announce(publication(alice, "video", g))
			s.withdraw(publication(alice, "video", g-1).ID)
		}
		close(hold)
		synctest.Wait()
		s.engine.subscriber(t, 0).want(t, "rebind alice/video/0.199")
	})
}

func TestSendOffer(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.Offer(own, "screen")
		s.Offer(alice, "hologram")
		// The sharer asks first and publishes then.
		s.Offer(alice, "screen")
		pass(3)
		s.wantSaid()
		s.announce(publication(alice, "screen", 1))
		s.wantSaid("alice: offer screen #1 offer-of-alice/screen/0.1")
		s.wantOutcome(s.say(alice, answer("screen", s.lastSID())), "ok")

		// Unshare: closed at once.
		pass(20)
		s.withdraw(publication(alice, "screen", 1).ID)
		if s.engine.subscriber(t, 0).closes() != 1 {
			t.Error("the connection is open")
		}
		s.announce(publication(alice, "screen", 2))
		s.wantSaid() // nobody has asked
		s.Offer(alice, "screen")
		s.wantSaid("alice: offer screen #2 offer-of-alice/screen/0.2")
	})
}

// The sendoffer for the next share comes another way than the end of the last
// one, and may be faster. It is never repeated.
func TestSendOfferOvertakesTheEnd(t *testing.T) {
	listening(t, "screen", func(t *testing.T, s *stage, first *fakeSubscriber) {
		pass(60)
		s.Offer(alice, "screen")
		s.wantSaid("alice: offer screen #2 offer-of-alice/screen/0.1")
		s.withdraw(publication(alice, "screen", 1).ID)
		pass(2)
		s.announce(publication(alice, "screen", 2))
		s.wantSaid("alice: offer screen #3 offer-of-alice/screen/0.2")
		s.withdraw(publication(alice, "screen", 2).ID)
		// It does not wait for ever: ten seconds from the request.
		pass(9)
		s.announce(publication(alice, "screen", 3))
		s.wantSaid()
	})
}
