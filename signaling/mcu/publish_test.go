package mcu_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
)

func TestPublish(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.wantOutcome(s.say(own, offer("video", "1001")), "ok")
		s.wantSaid("own: answer video 1001 answer-to-offer-1001", "announce own/video/3.1")

		p := s.engine.publisher(t, 0)
		if p.req.Group != "room" || p.req.Offer != "offer-1001" {
			t.Errorf("asked for %+v", p.req)
		}
		if pubs := s.Published(); len(pubs) != 1 || pubs[0].ID != p.pub.ID {
			t.Errorf("published %v", pubs)
		}

		// The candidates of both sides find their way.
		s.wantOutcome(s.say(own, candidate("video", "1001", "c1")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "", "c2")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "1001", "bad")), "invalid_candidate")
		p.want(t, "candidate c1", "candidate c2")
		p.req.OnCandidate(media.Candidate{Candidate: "ours"})
		s.wantSaid("own: candidate video 1001 ours")

		// A screen is a publication of its own.
		s.wantOutcome(s.say(own, offer("screen", "1002")), "ok")
		s.wantSaid("own: answer screen 1002 answer-to-offer-1002", "announce own/screen/3.1")
		if n, _ := s.Counts(); n != 2 {
			t.Errorf("%d publishers", n)
		}
		s.Close()
		if said := s.host.take(); len(said) != 2 || !slices.Contains(said, "withdraw own/video/3.1") || !slices.Contains(said, "withdraw own/screen/3.1") {
			t.Errorf("at the end the host was told %q", said)
		}
	})
}

func TestPublishAgain(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.say(own, offer("video", "1"))
		s.wantSaid("own: answer video 1 answer-to-offer-1", "announce own/video/3.1")
		first := s.engine.publisher(t, 0)

		s.wantOutcome(s.say(own, offer("video", "2")), "ok")
		s.wantSaid("own: answer video 2 answer-to-offer-2", "announce own/video/3.2", "withdraw own/video/3.1")
		if first.closes() != 1 {
			t.Error("the first connection is open")
		}

		// What comes late of the first one changes nothing.
		first.req.OnClose(media.ErrConnection)
		first.req.OnCandidate(media.Candidate{Candidate: "late"})
		s.wantOutcome(s.say(own, candidate("video", "1", "late")), "client_not_found")
		s.wantSaid()
		if pubs := s.Published(); len(pubs) != 1 || pubs[0].ID.Generation != 2 {
			t.Errorf("published %v", pubs)
		}
	})
}

// TestPublishBelow: the engine is told what a client wishes to stay below, and what its
// instance allows at any time.
func TestPublishBelow(t *testing.T) {
	allowed := 100
	run(t, mcu.Config{MaxBitrate: func(string) int { return allowed }}, func(t *testing.T, s *stage) {
		m := offer("video", "1")
		m.Bitrate = 200
		s.wantOutcome(s.say(own, m), "ok")
		req := s.engine.publisher(t, 0).req
		if req.Bitrate != 200 || req.MaxBitrate() != 100 {
			t.Errorf("wished %d, allowed %d", req.Bitrate, req.MaxBitrate())
		}
		if allowed = 300; req.MaxBitrate() != 300 {
			t.Errorf("allowed %d after it was changed", req.MaxBitrate())
		}
	})
}

// TestPublishPrefers: the wishes of an offer reach the engine in their order.
func TestPublishPrefers(t *testing.T) {
	for _, c := range []struct {
		audio, video, vp9, h264 string
		want                    media.Preference
	}{
		{want: media.Preference{}},
		{audio: "opus", video: "vp9,vp8,h264", vp9: "2", h264: "42e01f",
			want: media.Preference{Audio: []string{"opus"}, Video: []string{"vp9", "vp8", "h264"}, VP9Profile: "2", H264Profile: "42e01f"}},
		{audio: ",", video: " h264 , ,av1", want: media.Preference{Video: []string{"h264", "av1"}}},
	} {
		run(t, mcu.Config{}, func(t *testing.T, s *stage) {
			m := offer("video", "1")
			m.AudioCodec, m.VideoCodec, m.VP9Profile, m.H264Profile = c.audio, c.video, c.vp9, c.h264
			s.wantOutcome(s.say(own, m), "ok")
			if diff := cmp.Diff(c.want, s.engine.publisher(t, 0).req.Prefer); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestPublishRefused(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onPublish = func(_ context.Context, r media.PublishRequest) error {
			switch r.Offer {
			case "offer-bad":
				return fmt.Errorf("%w: for the test", media.ErrBadOffer)
			case "offer-full":
				return media.ErrFull
			case "offer-odd":
				return fmt.Errorf("something else")
			}
			return nil
		}
		s.wantOutcome(s.say(own, offer("video", "bad")), "invalid_sdp")
		s.wantOutcome(s.say(own, offer("video", "full")), "too_many_requests")
		s.wantOutcome(s.say(own, offer("video", "odd")), "processing_failed")
		s.wantSaid()

		// A publication outlives the refusal of another one.
		s.say(own, offer("video", "good"))
		s.wantSaid("own: answer video good answer-to-offer-good", "announce own/video/3.4")
		s.wantOutcome(s.say(own, offer("video", "bad")), "invalid_sdp")
		s.wantSaid()
		s.wantOutcome(s.say(own, candidate("video", "good", "c")), "ok")
		s.engine.publisher(t, 0).want(t, "candidate c")
	})
}

func TestEarlyCandidates(t *testing.T) {
	run(t, mcu.Config{Queue: 4}, func(t *testing.T, s *stage) {
		hold := make(chan struct{})
		s.engine.onPublish = func(_ context.Context, r media.PublishRequest) error {
			<-hold
			r.OnCandidate(media.Candidate{Candidate: "ours"}) // before the answer
			return nil
		}
		// Before the offer, for this and for another connection.
		s.wantOutcome(s.say(own, candidate("video", "0", "never")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "1", "before")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "", "nobody")), "client_not_found")
		offered := s.say(own, offer("video", "1"))
		s.wantOutcome(offered, "waiting")
		// While the offer is worked on, up to the bound.
		var waiting []*outcome
		for i := range 4 {
			waiting = append(waiting, s.say(own, candidate("video", "1", fmt.Sprint("during", i))))
		}
		s.wantOutcome(s.say(own, candidate("video", "1", "too many")), "too_many_requests")
		s.wantSaid()

		close(hold)
		s.wantSaid("own: answer video 1 answer-to-offer-1", "announce own/video/3.1", "own: candidate video 1 ours")
		s.wantOutcome(offered, "ok")
		for _, o := range waiting {
			s.wantOutcome(o, "ok")
		}
		s.engine.publisher(t, 0).want(t, "candidate before", "candidate during0", "candidate during1", "candidate during2", "candidate during3")
	})
}

func TestEarlyCandidatesAreBounded(t *testing.T) {
	run(t, mcu.Config{Queue: 2}, func(t *testing.T, s *stage) {
		s.wantOutcome(s.say(own, candidate("video", "1", "a")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "1", "b")), "ok")
		s.wantOutcome(s.say(own, candidate("video", "1", "c")), "client_not_found")
		// Only the last eight sids are remembered, which is more than any client
		// has on the way.
		for i := range 12 {
			s.say(own, offer("video", fmt.Sprint(i)))
		}
		s.wantOutcome(s.say(own, candidate("video", "5", "late")), "client_not_found")
		s.wantOutcome(s.say(own, candidate("video", "12", "early")), "ok")
		s.say(own, offer("video", "12"))
		s.engine.publisher(t, 12).want(t, "candidate early")
	})
}

// Candidates that wait are those of their own connection only.
func TestEarlyCandidatesOfOthers(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.wantOutcome(s.say(own, candidate("video", "1", "c")), "ok")
		s.say(own, offer("video", "2"))
		s.engine.publisher(t, 0).want(t)
		s.wantOutcome(s.say(own, candidate("video", "3", "c")), "ok")
		s.Reset()
		s.say(own, offer("video", "3"))
		s.engine.publisher(t, 1).want(t)
	})
}

func TestNewestOfferCounts(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		hold := make(chan struct{})
		s.engine.onPublish = func(context.Context, media.PublishRequest) error { <-hold; return nil }
		outcomes := []*outcome{s.say(own, offer("video", "1")), s.say(own, offer("video", "2")), s.say(own, offer("video", "3"))}
		s.wantOutcome(outcomes[1], "ok") // answered by what comes of the third
		// Another kind is not held up by it, nor is Handle.
		close(hold)
		synctest.Wait()
		for _, o := range outcomes {
			s.wantOutcome(o, "ok")
		}
		s.wantSaid(
			"own: answer video 1 answer-to-offer-1", "announce own/video/3.1",
			"own: answer video 3 answer-to-offer-3", "announce own/video/3.2", "withdraw own/video/3.1",
		)
	})
}

func TestPublisherFails(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.say(own, offer("video", "1"))
		s.host.take()
		s.engine.publisher(t, 0).fail()
		s.wantSaid("withdraw own/video/3.1")
		s.wantOutcome(s.say(own, candidate("video", "1", "late")), "client_not_found")
		s.wantOutcome(s.say(own, offer("video", "2")), "ok")
		s.wantSaid("own: answer video 2 answer-to-offer-2", "announce own/video/3.2")
	})
}

// The connection may fail before the engine has even given it out.
func TestPublisherFailsAtOnce(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onPublish = func(_ context.Context, r media.PublishRequest) error {
			r.OnClose(media.ErrConnection)
			return nil
		}
		s.say(own, offer("video", "1"))
		s.wantSaid("own: answer video 1 answer-to-offer-1", "announce own/video/3.1", "withdraw own/video/3.1")
	})
}

func TestUnshare(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		unshare := wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "screen", SID: "1"}
		s.wantOutcome(s.say(own, unshare), "ok") // nothing to close
		s.say(own, offer("video", "0"))
		s.say(own, offer("screen", "1"))
		s.host.take()

		s.wantOutcome(s.say(own, unshare), "ok")
		s.wantSaid("withdraw own/screen/3.1")
		s.wantOutcome(s.say(own, candidate("screen", "1", "late")), "client_not_found")
		if pubs := s.Published(); len(pubs) != 1 || pubs[0].ID.Kind != "video" {
			t.Errorf("published %v", pubs)
		}

		// What ends a share of before comes late: the next one stays.
		s.say(own, offer("screen", "a"))
		s.say(own, offer("screen", "b"))
		s.host.take()
		late := wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "screen", SID: "a"}
		s.wantOutcome(s.say(own, late), "ok")
		if said := s.host.take(); len(said) != 0 || len(s.Published()) != 2 {
			t.Errorf("a late end: %q, published %v", said, s.Published())
		}
		s.wantOutcome(s.say(own, wire.MediaMessage{Type: wire.MediaUnshareScreen, RoomType: "video"}), "ok") // any of the screen
		if len(s.Published()) != 1 {
			t.Errorf("published %v", s.Published())
		}
		s.host.take()

		// Sharing again starts over and works at once.
		a := s.post(own, offer("screen", "2"))
		unshare.SID = "2"
		b := s.post(own, unshare)
		c := s.say(own, offer("screen", "3"))
		for _, o := range []*outcome{b, c} {
			s.wantOutcome(o, "ok")
		}
		if got := a.String(); got != "ok" && got != "client_not_found" {
			t.Errorf("the share that was ended at once: %s", got)
		}
		said := s.host.take()
		if n := len(said); n < 2 || said[n-2] != "own: answer screen 3 answer-to-offer-3" {
			t.Errorf("host was told %q", said)
		}
	})
}

func TestUnpublish(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.say(own, offer("video", "1"))
		s.host.take()
		s.Unpublish("video")
		s.Unpublish("screen")
		s.Unpublish("nonsense")
		s.wantSaid("withdraw own/video/3.1")
	})
}

func TestResetWhilePublishing(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onPublish = func(ctx context.Context, r media.PublishRequest) error {
			if r.Group == "room" {
				<-ctx.Done() // and succeeds all the same
			}
			return nil
		}
		first := s.say(own, offer("video", "1"))
		queued := s.say(own, candidate("video", "1", "c"))
		s.wantOutcome(first, "waiting")
		s.Enter("elsewhere")
		synctest.Wait()
		s.wantOutcome(first, "client_not_found")
		s.wantOutcome(queued, "client_not_found")
		s.wantSaid()
		if s.engine.publisher(t, 0).closes() != 1 {
			t.Error("the connection is open")
		}
		s.wantOutcome(s.say(own, offer("video", "2")), "ok")
		s.wantSaid("own: answer video 2 answer-to-offer-2", "announce own/video/3.2")
		if g := s.engine.publisher(t, 1).req.Group; g != "elsewhere" {
			t.Errorf("group %q", g)
		}
	})
}

func TestPublishTakesTooLong(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		s.engine.onPublish = func(ctx context.Context, _ media.PublishRequest) error {
			<-ctx.Done()
			return ctx.Err()
		}
		o := s.say(own, offer("video", "1"))
		s.wantOutcome(o, "waiting")
		pass(11)
		s.wantOutcome(o, "processing_failed")
	})
}

func TestMessagesForNobody(t *testing.T) {
	run(t, mcu.Config{}, func(t *testing.T, s *stage) {
		for _, c := range []struct {
			m           wire.MediaMessage
			self, other string
		}{
			{offer("video", "1"), "ok", "not_allowed"},
			{offer("holo", "1"), "invalid_format", "invalid_format"},
			{answer("video", "1"), "client_not_found", "client_not_found"},
			{candidate("video", "9", "c"), "ok", "client_not_found"},
			{requestOffer("video", ""), "ok", "waiting"},
			{wire.MediaMessage{Type: wire.MediaSendOffer}, "ok", "not_allowed"},
			{wire.MediaMessage{Type: wire.MediaUnshareScreen}, "ok", "ok"},
			{wire.MediaMessage{Type: wire.MediaEndOfCandidates}, "ok", "ok"},
			{wire.MediaMessage{Type: wire.MediaSelectStream, Payload: &wire.MediaPayload{}}, "ok", "client_not_found"},
		} {
			if got := s.say(own, c.m).String(); got != c.self {
				t.Errorf("%s %s to oneself: %s, want %s", c.m.Type, c.m.RoomType, got, c.self)
			}
			if got := s.say(bob, c.m).String(); got != c.other {
				t.Errorf("%s %s to another: %s, want %s", c.m.Type, c.m.RoomType, got, c.other)
			}
			s.Gone(bob)
			synctest.Wait()
		}
	})
}
