package media_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

func TestSubscriberBeforeMedia(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 2})
	c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	// Nothing is sent for somebody who joined muted.
	quiet(t, c, media.Audio)
	if r := e.Totals(); r.PacketsOut != 0 {
		t.Errorf("%d packets for a muted publisher", r.PacketsOut)
	}
	sender.Start()
	clean(t, wait(t, c, media.Video, packets(30)))
	sender.Mute(true)
	quiet(t, c, media.Audio)
	have := c.Report(media.Audio).Packets
	sender.Mute(false)
	clean(t, wait(t, c, media.Audio, packets(have+20)))
}

func TestLipSync(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 3})
	c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	wait(t, c, media.Video, packets(30))
	deadline := time.Now().Add(5 * time.Second)
	for len(c.SenderReports(media.Audio)) == 0 || len(c.SenderReports(media.Video)) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("no sender reports")
		}
		time.Sleep(20 * time.Millisecond) // until the next report
	}
	// The sent timestamps of both kinds advance in real time from the same
	// moment, so that reports of both map the sender's clock to them alike.
	now := mediatest.NTP(time.Now())
	for _, kind := range []string{media.Audio, media.Video} {
		sr := c.SenderReports(kind)[0]
		if d := int64(now-sr.NTPTime) * 1000 >> 32; d < 0 || d > 5000 {
			t.Errorf("%s: report is %d ms off the publisher's clock", kind, d)
		}
		if sr.PacketCount == 0 || sr.OctetCount == 0 || sr.SSRC != c.SSRC(kind) {
			t.Errorf("%s: report %+v", kind, sr)
		}
	}
}

func TestRebindKeepsTheStream(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	first, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 4})
	c, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	first.Start()
	wait(t, c, media.Video, packets(30))
	ssrc := c.SSRC(media.Video)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	second, p2 := publish(t, e, pubID("a", 2), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 5})
	second.Start()
	if err := s.Rebind(p2.Publication()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{media.Audio, media.Video} {
		have := c.Report(kind).Packets
		r := wait(t, c, kind, func(r mediatest.Report) bool { return r.Packets > have+30 && len(r.Streams) == 2 })
		clean(t, r)
	}
	if c.SSRC(media.Video) != ssrc {
		t.Error("the SSRC changed")
	}

	_, audio := publish(t, e, pubID("a", 3), mediatest.PublisherConfig{Audio: true, Stream: 6})
	if err := s.Rebind(audio.Publication()); !errors.Is(err, media.ErrIncompatible) {
		t.Errorf("rebind to audio only: %v", err)
	}
	_, other := publish(t, e, pubID("b", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 7})
	if err := s.Rebind(other.Publication()); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("rebind to somebody else: %v", err)
	}
}

func TestSelectVideo(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 8})
	c, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	wait(t, c, media.Video, packets(30))
	off, on := false, true
	if err := s.Select(p.Publication().ID, media.Selection{Video: &off}); err != nil {
		t.Fatal(err)
	}
	audio := c.Report(media.Audio).Packets
	quiet(t, c, media.Video)
	if c.Report(media.Audio).Packets == audio {
		t.Error("audio does not go on")
	}
	before := c.Report(media.Video)
	if err := s.Select(p.Publication().ID, media.Selection{Video: &on}); err != nil {
		t.Fatal(err)
	}
	r := wait(t, c, media.Video, packets(before.Packets+30))
	clean(t, r)
	if r.Keyframes == before.Keyframes {
		t.Error("video does not begin again with a keyframe")
	}
	if err := s.Select(pubID("nobody", 1), media.Selection{}); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("selection of nobody: %v", err)
	}
}

func TestRetransmission(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]mediatest.Options{"rtx": {}, "identical": {NoRTX: true}} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			e := engine(t, media.Config{}, media.Deps{Registerer: registry})
			sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Video: true, Stream: 9})
			cfg := mediatest.SubscriberConfig{
				Options: o,
				Drop:    func(_ string, seq uint16) bool { return seq%7 == 0 },
			}
			if name == "identical" {
				// The second copy is what the replay protection of SRTP is against, unless
				// the first was lost on the way.
				cfg.Settings = noReplayProtection
			}
			c, _ := subscribe(t, e, cfg, false, p.Publication())
			sender.Start()
			r := wait(t, c, media.Video, packets(100))
			for _, f := range r.Faults {
				t.Error(f)
			}
			if n := metric(t, registry, "talkd_media_resent_packets_total"); n < 10 {
				t.Errorf("%v packets counted as sent again", n)
			}
		})
	}
}

func TestKeyframeRequestsAreMerged(t *testing.T) {
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Video: true, Stream: 10})
	var clients []*mediatest.Subscriber
	for range 3 {
		c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
		clients = append(clients, c)
	}
	sender.Start()
	for _, c := range clients {
		wait(t, c, media.Video, packets(30))
	}
	time.Sleep(600 * time.Millisecond) // the gate of earlier requests opens
	before, keyframes := sender.Keyframes(), clients[0].Report(media.Video).Keyframes
	for range 5 {
		for _, c := range clients {
			if err := c.Keyframe(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range clients {
		wait(t, c, media.Video, func(r mediatest.Report) bool { return r.Keyframes > keyframes })
	}
	if n := sender.Keyframes() - before; n != 1 {
		t.Errorf("15 requests became %d", n)
	}
}

func TestDataChannel(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Data: true, Stream: 11})
	if !p.Publication().Data {
		t.Error("publication without data")
	}
	var clients []*mediatest.Subscriber
	for range 2 {
		c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, true, p.Publication())
		clients = append(clients, c)
	}
	want := []string{`{"type":"audioOn"}`, `{"type":"speaking"}`, `{"type":"stoppedSpeaking"}`}
	for _, m := range want {
		if err := sender.SendText(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range clients {
		for _, m := range want {
			select {
			case got := <-c.Messages():
				if got != m {
					t.Errorf("got %q, want %q", got, m)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no message")
			}
		}
	}
}

func metric(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(labels) == 2 && (len(m.GetLabel()) != 1 || m.GetLabel()[0].GetName() != labels[0] || m.GetLabel()[0].GetValue() != labels[1]) {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return 0
}

func TestSimulcast(t *testing.T) {
	for _, codec := range []string{webrtc.MimeTypeVP8, webrtc.MimeTypeH264} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			simulcast(t, codec)
		})
	}
}

func simulcast(t *testing.T, codec string) {
	t.Helper()
	e := engine(t, media.Config{MaxStreamBitrate: 2_000_000}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Video: true, Codec: codec, Stream: 30, Layers: 3})
	const low, mid, high = 61, 1061, 2061
	track, _ := p.Publication().Track(media.Video)
	if len(track.Layers) != 3 || track.Layers[0].RID != "l" || track.Layers[2].RID != "h" {
		t.Fatalf("layers: %+v", track.Layers)
	}
	sender.Layer(2, false)
	c, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	arrived := func(stream uint32) {
		t.Helper()
		r := wait(t, c, media.Video, func(r mediatest.Report) bool { return r.Last.Stream == stream && r.Missing == 0 })
		clean(t, r)
	}
	arrived(mid) // the best that is sent
	sender.Layer(2, true)
	arrived(high)
	zero, two := 0, 2
	if err := s.Select(p.Publication().ID, media.Selection{Substream: &zero}); err != nil {
		t.Fatal(err)
	}
	arrived(low)
	if err := s.Select(p.Publication().ID, media.Selection{Substream: &two}); err != nil {
		t.Fatal(err)
	}
	arrived(high)
	sender.Layer(2, false) // as a browser does when its bandwidth falls
	arrived(mid)
}
