package media_test

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// A node that is overloaded pauses the video of who came last and forwards all
// voice; what goes on is one stream, without a gap.
func TestShedPausesTheNewest(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := engine(t, media.Config{}, media.Deps{Registerer: registry})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 70})
	older, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	newer, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	wait(t, newer, media.Video, packets(10))

	if got, want := e.Shed(0.5), (media.Shed{Streams: 2, Paused: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := metric(t, registry, "talkd_media_shed_streams", "what", "paused"); n != 1 {
		t.Errorf("%v streams counted as paused", n)
	}
	quiet(t, newer, media.Video)
	for c, kinds := range map[*mediatest.Subscriber][]string{older: {media.Audio, media.Video}, newer: {media.Audio}} {
		for _, kind := range kinds {
			clean(t, wait(t, c, kind, packets(c.Report(kind).Packets+20)))
		}
	}
	if got, want := e.Shed(0), (media.Shed{Streams: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	clean(t, wait(t, newer, media.Video, packets(newer.Report(media.Video).Packets+20)))
}

// Who receives is told what is done to each video, once, and of nothing that he
// does himself.
func TestShedIsTold(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 74, Layers: 3})
	var told []media.Restraint // by Shed, which runs here
	request := requestFor(p)
	request.OnRestraint = func(id media.PubID, r media.Restraint) {
		if id != p.Publication().ID {
			t.Errorf("told of %v", id)
		}
		told = append(told, r)
	}
	c, s := subscribeFor(t, e, mediatest.SubscriberConfig{}, request)
	sender.Start()
	wait(t, c, media.Video, packets(10))
	expect := func(share float64, want ...media.Restraint) {
		t.Helper()
		told = nil
		e.Shed(share)
		e.Shed(share)
		if !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	}
	expect(0)
	expect(0.3, media.Lowered)
	expect(0.6)
	expect(1, media.Paused)
	off := false
	if err := s.Select(p.Publication().ID, media.Selection{Video: &off}); err != nil {
		t.Fatal(err)
	}
	expect(1, media.Unrestrained)
	on := true
	if err := s.Select(p.Publication().ID, media.Selection{Video: &on}); err != nil {
		t.Fatal(err)
	}
	expect(1, media.Paused)
	expect(0, media.Unrestrained)
}

// Before anything is paused there is a worse layer, if the publisher has any, and
// who chose a bad one anyway gets that.
func TestShedLowersFirst(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Video: true, Stream: 72, Layers: 3})
	c, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	sender.Start()
	on := func(stream uint32) func(mediatest.Report) bool {
		return func(r mediatest.Report) bool { return r.Last.Stream == stream && r.Missing == 0 }
	}
	wait(t, c, media.Video, on(2145))
	if got, want := e.Shed(0.3), (media.Shed{Streams: 1, Lowered: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	wait(t, c, media.Video, on(1145))
	low := 0
	if err := s.Select(p.Publication().ID, media.Selection{Substream: &low}); err != nil {
		t.Fatal(err)
	}
	wait(t, c, media.Video, on(145))
	if got, want := e.Shed(0.1), (media.Shed{Streams: 1, Paused: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	quiet(t, c, media.Video)
}
