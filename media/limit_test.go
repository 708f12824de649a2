package media_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// TestLimitIsKept: of a publisher that sends four times what it may, those who listen
// get what is allowed, in frames that can be decoded, and all that it says. When more
// is allowed, they get all.
func TestLimitIsKept(t *testing.T) {
	t.Parallel()
	const limit = 1_200_000
	registry := prometheus.NewRegistry()
	e := engine(t, media.Config{}, media.Deps{Registerer: registry})
	var most atomic.Int64
	most.Store(limit)
	sender, p := offerFor(t, e, mediatest.PublisherConfig{
		Audio: true, Video: true, Stream: 44, FrameSize: 1000, PerFrame: 24, // 4.8 Mbit/s
	}, media.PublishRequest{ID: pubID("a", 1), MaxBitrate: func() int { return int(most.Load()) }})
	if err := sender.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	left := func(kind string) float64 {
		return metric(t, registry, "talkd_media_policed_packets_total", "kind", kind)
	}
	sender.Start()
	began := time.Now()
	r := wait(t, c, media.Video, func(r mediatest.Report) bool { return r.Keyframes >= 4 && r.Missing == 0 })
	passed := time.Since(began)
	clean(t, r)
	burst := 2 * limit / 8 * 1.05
	if allowed := burst + limit/8*1.05*passed.Seconds(); float64(r.Bytes) > allowed+100_000 {
		t.Errorf("%d bytes in %v, where %.0f are allowed", r.Bytes, passed, allowed)
	}
	if left(media.Video) == 0 {
		t.Error("nothing was left out")
	}
	t.Logf("%d bytes of video in %v, %v packets left out", r.Bytes, passed.Round(time.Millisecond), left(media.Video))

	audio := wait(t, c, media.Audio, packets(int(passed/(40*time.Millisecond))))
	clean(t, audio)
	if left(media.Audio) > 0 || audio.Last.Counter-audio.First.Counter+1 != uint32(audio.Packets) {
		t.Errorf("of the voice %v packets were left out: %d of %d came", left(media.Audio), audio.Packets, audio.Last.Counter-audio.First.Counter+1)
	}

	most.Store(20_000_000)
	sent := r.Last.Counter
	wait(t, c, media.Video, func(r mediatest.Report) bool { return r.Last.Counter > sent+24*25*2 })
	before := left(media.Video)
	have := c.Report(media.Video).Packets
	clean(t, wait(t, c, media.Video, packets(have+24*25)))
	if n := left(media.Video) - before; n > 0 {
		t.Errorf("%v packets were left out after the limit was raised", n)
	}
}

// TestLimitOfASimulcast: whoever gets a layer that is left out gets the one below at
// once, and the better one again when there is room for it.
func TestLimitOfASimulcast(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	var most atomic.Int64
	most.Store(20_000_000)
	sender, p := offerFor(t, e, mediatest.PublisherConfig{Video: true, Stream: 47, Layers: 3}, // 600 kbit/s each
		media.PublishRequest{ID: pubID("a", 1), MaxBitrate: func() int { return int(most.Load()) }})
	if err := sender.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	const high = 2095
	c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	arrived := func(what string, is func(stream uint32) bool) {
		t.Helper()
		began := time.Now()
		clean(t, wait(t, c, media.Video, func(r mediatest.Report) bool { return is(r.Last.Stream) && r.Missing == 0 }))
		t.Logf("%s after %v", what, time.Since(began).Round(time.Millisecond))
	}
	best := func(stream uint32) bool { return stream == high }
	arrived("the best", best)
	most.Store(800_000) // less than what a busy machine sends, too
	arrived("one below", func(stream uint32) bool { return stream != high })
	most.Store(20_000_000)
	arrived("the best", best)
}
