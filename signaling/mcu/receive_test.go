package mcu_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// pass lets that many seconds pass.
func pass(seconds int) {
	time.Sleep(time.Duration(seconds) * time.Second) // the bubble's time: it costs none
	synctest.Wait()
}

// The client is told when its node leaves out video, of the connection that it
// has, and not of each step while it hears nothing of any.
func TestShed(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.say(alice, answer("video", s.lastSID()))
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.1")
		first := s.engine.subscriber(t, 0).req
		tell := func(r media.Restraint) { first.OnRestraint(first.Publications[0].ID, r) }
		tell(media.Paused)
		s.wantSaid("alice: shed video #1 paused")
		tell(media.Lowered)
		s.wantSaid("alice: shed video #1 lowered")
		tell(media.Unrestrained)
		s.wantSaid("alice: shed video #1 none")

		s.say(alice, requestOffer("video", ""))
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.1")
		tell(media.Paused)
		s.wantSaid()
	})
}

// What waits to be told is the newest.
func TestShedOfABusyLink(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.1")
		busy := make(chan struct{})
		s.engine.onAnswer = func() { <-busy }
		s.say(alice, answer("video", s.lastSID()))
		req := s.engine.subscriber(t, 0).req
		for _, r := range []media.Restraint{media.Lowered, media.Paused, media.Unrestrained, media.Paused} {
			req.OnRestraint(req.Publications[0].ID, r)
		}
		close(busy)
		s.wantSaid("alice: shed video #1 paused")
	})
}

func TestReceive(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.announce(publication(alice, "screen", 1))
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "ok")
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.1")
		sid := s.lastSID()
		video := s.engine.subscriber(t, 0)
		if !video.req.DataChannel || video.req.Group != "room" {
			t.Errorf("asked for %+v", video.req)
		}

		s.wantOutcome(s.say(alice, candidate("video", sid, "before")), "ok")
		s.wantOutcome(s.say(alice, description(wire.MediaAnswer, "video", sid, "bad")), "invalid_sdp")
		s.wantOutcome(s.say(alice, answer("video", sid)), "ok")
		s.wantOutcome(s.say(alice, candidate("video", sid, "after")), "ok")
		s.wantOutcome(s.say(alice, candidate("video", "", "without sid")), "ok")
		one, no := 1, false
		choice := wire.MediaMessage{Type: wire.MediaSelectStream, SID: sid, Payload: &wire.MediaPayload{Substream: &one, Temporal: &one}}
		s.wantOutcome(s.say(alice, choice), "ok")
		choice.Payload = &wire.MediaPayload{Video: &no}
		s.wantOutcome(s.say(alice, choice), "ok")
		video.want(t, "candidate before", "answer-"+sid, "candidate after", "candidate without sid",
			"select alice/video/0.1 1/1 video -", "select alice/video/0.1 -/- video false")
		video.req.OnCandidate(media.Candidate{Candidate: "ours"})
		s.wantSaid("alice: candidate video #1 ours")

		// A screen has no data channel, and is a connection of its own.
		s.wantOutcome(s.say(alice, requestOffer("screen", "")), "ok")
		s.wantSaid("alice: offer screen #2 offer-of-alice/screen/0.1")
		if s.engine.subscriber(t, 1).req.DataChannel {
			t.Error("a data channel for a screen")
		}
		if _, n := s.Counts(); n != 2 {
			t.Errorf("%d subscribers", n)
		}
		// Messages with a sid that is gone.
		for _, m := range []wire.MediaMessage{answer("video", "gone"), candidate("video", "gone", "c")} {
			s.wantOutcome(s.say(alice, m), "client_not_found")
		}
		choice.SID = "gone"
		s.wantOutcome(s.say(alice, choice), "client_not_found")
		// An answered connection is kept.
		pass(600)
		if _, n := s.Counts(); n != 1 {
			t.Errorf("%d subscribers after ten minutes, want the answered one", n)
		}
	})
}

func TestRequestWaits(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		waits := s.say(alice, requestOffer("video", ""))
		pass(5)
		s.wantOutcome(waits, "waiting")
		// Nothing else is held up.
		s.announce(publication(bob, "video", 1))
		s.wantOutcome(s.say(bob, requestOffer("video", "")), "ok")
		s.wantOutcome(s.say(own, offer("video", "1")), "ok")
		s.wantSaid("bob: offer video #1 offer-of-bob/video/0.1",
			"own: answer video 1 answer-to-offer-1", "announce own/video/3.1")
		pass(4)
		s.announce(publication(alice, "video", 1))
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.1")
		s.wantOutcome(waits, "ok")
	})
}

func TestRequestTimesOut(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		o := s.say(alice, requestOffer("video", ""))
		time.Sleep(10*time.Second - time.Millisecond) // the bubble's time
		synctest.Wait()
		s.wantOutcome(o, "waiting")
		pass(1)
		s.wantOutcome(o, "processing_failed")
		s.announce(publication(alice, "video", 1))
		s.wantSaid()
	})
}

func TestRequestRefused(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.dir.hidden[alice] = true
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "not_allowed")
	})
}

func TestRepeatedRequest(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		first := s.say(alice, requestOffer("video", ""))
		pass(9)
		second := s.say(alice, requestOffer("video", ""))
		s.wantOutcome(first, "ok")
		pass(9) // the wait has begun anew
		s.wantOutcome(second, "waiting")
		s.announce(publication(alice, "video", 1))
		s.wantOutcome(second, "ok")
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.1")
	})
}

func TestRequestAgain(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		sid := s.lastSID()
		// With the sid of an offer that is not answered yet: that one counts.
		s.wantOutcome(s.say(alice, requestOffer("video", sid)), "ok")
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.1")
		s.say(alice, answer("video", sid))
		first := s.engine.subscriber(t, 0)
		first.want(t, "answer-"+sid)

		// With the current sid: the same connection.
		s.wantOutcome(s.say(alice, requestOffer("video", sid)), "ok")
		s.wantSaid("alice: offer video #1 another-offer")
		s.wantOutcome(s.say(alice, answer("video", sid)), "ok")
		first.want(t, "offer again", "answer-"+sid)

		// Without: a new one.
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.1")
		if first.closes() != 1 {
			t.Error("the first connection is open")
		}
		s.wantOutcome(s.say(alice, answer("video", sid)), "client_not_found")
		s.wantOutcome(s.say(alice, candidate("video", sid, "late")), "client_not_found")
		s.wantOutcome(s.say(alice, answer("video", s.lastSID())), "ok")

		// With another sid: a new one.
		s.wantOutcome(s.say(alice, requestOffer("video", sid)), "ok")
		s.wantSaid("alice: offer video #3 offer-of-alice/video/0.1")
		if _, n := s.Counts(); n != 1 {
			t.Errorf("%d subscribers", n)
		}
	})
}

func TestUpdateOfAClosedConnection(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		sid := s.lastSID()
		s.say(alice, answer("video", sid))
		s.host.take()
		s.engine.subscriber(t, 0).die() // and nobody was told yet
		s.wantOutcome(s.say(alice, requestOffer("video", sid)), "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.1")
	})
}

func TestSubscriberFails(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		sid := s.lastSID()
		s.say(alice, answer("video", sid))
		s.host.take()
		s.engine.subscriber(t, 0).fail()
		synctest.Wait()
		s.wantSaid() // the client asks again
		s.wantOutcome(s.say(alice, candidate("video", sid, "late")), "client_not_found")
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.1")
	})
}

func TestOfferWithoutAnswer(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		sid := s.lastSID()
		pass(59)
		if _, n := s.Counts(); n != 1 {
			t.Error("given up too early")
		}
		pass(2)
		if _, n := s.Counts(); n != 0 || s.engine.subscriber(t, 0).closes() != 1 {
			t.Error("the offer still waits for its answer")
		}
		s.wantOutcome(s.say(alice, answer("video", sid)), "client_not_found")
	})
}

// The answer is there in time, but takes longer than that to be applied.
func TestAnsweredInTheLastMoment(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onAnswer = func() { time.Sleep(5 * time.Second) } // the bubble's time
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		pass(58)
		o := s.say(alice, answer("video", s.lastSID()))
		pass(60)
		s.wantOutcome(o, "ok")
		if _, n := s.Counts(); n != 1 {
			t.Error("given up although it was answered")
		}
	})
}

// The replica may know of a publication that its edge does not serve yet, or
// no more.
func TestSubscribeIsTriedAgain(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		var tries int
		s.engine.onSubscribe = func(_ context.Context, r media.SubscribeRequest) error {
			if tries++; tries < 4 {
				return fmt.Errorf("%w: for the test", media.ErrNotFound)
			}
			return nil
		}
		s.announce(publication(alice, "video", 1))
		o := s.say(alice, requestOffer("video", ""))
		s.wantOutcome(o, "waiting")
		pass(1)
		s.announce(publication(alice, "video", 2))
		pass(1)
		s.wantOutcome(o, "ok")
		s.wantSaid("alice: offer video #1 offer-of-alice/video/0.2")

		tries = -100
		o = s.say(bob, requestOffer("video", ""))
		s.announce(publication(bob, "video", 1))
		pass(11)
		s.wantOutcome(o, "client_not_found")

		s.engine.onSubscribe = func(context.Context, media.SubscribeRequest) error { return media.ErrFull }
		s.wantOutcome(s.say(bob, requestOffer("video", "")), "too_many_requests")
	})
}

func TestGone(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.host.take()
		waits := s.say(alice, requestOffer("screen", ""))
		others := s.say(bob, requestOffer("video", ""))
		s.Gone(alice)
		synctest.Wait()
		s.wantOutcome(waits, "client_not_found")
		s.wantOutcome(others, "waiting")
		if s.engine.subscriber(t, 0).closes() != 1 {
			t.Error("the connection is open")
		}
		s.dir.put(publication(alice, "screen", 1))
		s.wantSaid()
		// They come back.
		s.announce(publication(alice, "video", 2))
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "ok")
		s.wantSaid("alice: offer video #2 offer-of-alice/video/0.2")
	})
}

// Leaving takes effect on an offer that is being made.
func TestGoneWhileSubscribing(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onSubscribe = func(ctx context.Context, _ media.SubscribeRequest) error { <-ctx.Done(); return nil }
		s.announce(publication(alice, "video", 1))
		o := s.say(alice, requestOffer("video", ""))
		s.Gone(alice)
		synctest.Wait()
		s.wantOutcome(o, "client_not_found")
		s.wantSaid()
		if s.engine.subscriber(t, 0).closes() != 1 {
			t.Error("the connection is open")
		}
	})
}

func TestReset(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.say(own, offer("video", "1"))
		waits := s.say(bob, requestOffer("video", ""))
		s.host.take()
		s.Reset()
		synctest.Wait()
		s.wantSaid("withdraw own/video/3.1")
		s.wantOutcome(waits, "client_not_found")
		s.checkClosed()
		// And everything works again.
		s.say(own, offer("video", "2"))
		s.wantSaid("own: answer video 2 answer-to-offer-2", "announce own/video/3.2")
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "ok")
	})
}

func TestLimits(t *testing.T) {
	run(t, mcu.Config{Subscribers: 2, Queue: 3}, func(t *testing.T, s *stage) {
		a := s.say("a", requestOffer("video", ""))
		s.say("b", requestOffer("video", ""))
		s.wantOutcome(s.say("c", requestOffer("video", "")), "too_many_requests")
		// Messages that wait behind a request.
		for range 3 {
			s.wantOutcome(s.say("a", candidate("video", "", "c")), "waiting")
		}
		s.wantOutcome(s.say("a", candidate("video", "", "c")), "too_many_requests")
		s.wantOutcome(s.say("a", requestOffer("video", "")), "too_many_requests")
		s.wantOutcome(a, "waiting")
		s.Gone("a")
		synctest.Wait()
		s.wantOutcome(s.say("c", requestOffer("video", "")), "waiting")
		// Descriptions do not pile up: only the newest waits.
		first := s.say("b", answer("video", ""))
		second := s.say("b", answer("video", ""))
		s.wantOutcome(first, "ok")
		s.wantOutcome(second, "waiting")
	})
}

// What is forgotten takes no room.
func TestLimitCountsWhatThereIs(t *testing.T) {
	run(t, mcu.Config{Subscribers: 1}, func(t *testing.T, s *stage) {
		for i := range 10 {
			id := store.SessionID(fmt.Sprint("s", i))
			s.dir.mu.Lock()
			s.dir.hidden[id] = true
			s.dir.mu.Unlock()
			s.wantOutcome(s.say(id, requestOffer("video", "")), "not_allowed")
		}
	})
}

func TestAfterClose(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.announce(publication(alice, "video", 1))
		s.say(alice, requestOffer("video", ""))
		s.say(own, offer("video", "1"))
		waits := s.say(bob, requestOffer("video", ""))
		s.Close()
		s.wantOutcome(waits, "client_not_found")
		s.host.take()
		s.wantOutcome(s.say(own, offer("video", "1")), "client_not_found")
		s.wantOutcome(s.say(alice, requestOffer("video", "")), "client_not_found")
		s.Offer(alice, "video")
		s.announce(publication(alice, "video", 2))
		s.Gone(alice)
		s.engine.subscriber(t, 0).fail()
		s.engine.publisher(t, 0).fail()
		s.Close()
		s.wantSaid()
	})
}
