package media_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// otherNode plays the relay: it brings generated packets.
type otherNode struct {
	mu     sync.Mutex
	pulls  []*otherPull // guarded by mu
	failed int          // guarded by mu; how many pulls are refused
	came   chan *otherPull
	audio  *mediatest.Generator // of the publisher, whichever way its packets come
	video  *mediatest.Generator
}

func newOtherNode(failed int) *otherNode {
	return &otherNode{
		failed: failed,
		came:   make(chan *otherPull, 8),
		audio:  mediatest.NewGenerator(media.Audio, 100),
		video:  mediatest.NewGenerator(media.Video, 101),
	}
}

type otherPull struct {
	audio, video *mediatest.Source
	data         chan media.DataMessage
	done         chan struct{}
	why          error
	closed       chan struct{}
}

func (o *otherNode) Pull(context.Context, media.Publication) (*media.Relayed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed > 0 {
		o.failed--
		return nil, errors.New("not reachable")
	}
	p := &otherPull{
		audio:  mediatest.NewSource(o.audio),
		video:  mediatest.NewSource(o.video),
		data:   make(chan media.DataMessage, 8),
		done:   make(chan struct{}),
		closed: make(chan struct{}),
	}
	o.pulls = append(o.pulls, p)
	o.came <- p
	return &media.Relayed{
		Layers: []media.RelayedLayer{
			{Track: 0, Source: p.audio, Feedback: p.audio},
			{Track: 1, Source: p.video, Feedback: p.video},
			{Track: 9, Source: p.video, Feedback: p.video}, // not of the publication
		},
		Data: p.data,
		Done: p.done,
		Err:  func() error { return p.why },
		Close: func() error {
			close(p.closed)
			return errors.Join(p.audio.Close(), p.video.Close())
		},
	}, nil
}

func (o *otherNode) next(t *testing.T) *otherPull {
	t.Helper()
	select {
	case p := <-o.came:
		return p
	case <-time.After(10 * time.Second):
		t.Fatal("no pull")
		return nil
	}
}

func remotePublication() media.Publication {
	layer := []media.LayerInfo{{}}
	return media.Publication{
		ID: pubID("far", 1), Edge: "n2", Group: "room", Data: true,
		Tracks: []media.TrackInfo{
			{Index: 0, Kind: media.Audio, Codec: media.Codec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}, Layers: layer},
			{Index: 1, Kind: media.Video, Codec: media.Codec{MimeType: "video/VP8", ClockRate: 90000}, Layers: layer},
		},
	}
}

func TestPullOncePerPublication(t *testing.T) {
	t.Parallel()
	other := newOtherNode(1)
	e := engine(t, media.Config{}, media.Deps{Remote: other})
	pub := remotePublication()
	first, s1 := subscribe(t, e, mediatest.SubscriberConfig{}, true, pub)
	second, s2 := subscribe(t, e, mediatest.SubscriberConfig{}, true, pub)
	p := other.next(t) // the refused one is repeated
	p.data <- media.DataMessage{Text: true, Data: []byte("hello")}
	feed := func(p *otherPull, want func(mediatest.Report) bool) {
		t.Helper()
		for _, c := range []*mediatest.Subscriber{first, second} {
			ctx, cancel := context.WithCancel(within(t))
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				tick := time.NewTicker(5 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
						p.video.Push(1)
						p.audio.Push(1)
					}
				}
			}()
			r, err := c.Wait(ctx, media.Video, want)
			cancel()
			<-ended
			if err != nil {
				t.Fatal(err)
			}
			clean(t, r)
		}
	}
	feed(p, packets(60))
	for _, c := range []*mediatest.Subscriber{first, second} {
		select {
		case m := <-c.Messages():
			if m != "hello" {
				t.Errorf("message %q", m)
			}
		case <-time.After(5 * time.Second):
			t.Error("no message")
		}
	}
	if n, _ := p.video.Asked(); n == 0 {
		t.Error("no keyframe asked for")
	}
	if n := len(other.came); n != 0 {
		t.Errorf("%d pulls too many", n)
	}

	// The way is lost: pulled again, and the subscribers see one stream.
	p.why = errors.New("way lost")
	close(p.done)
	<-p.closed
	for range 1000 {
		other.video.Frame() // lost
	}
	p2 := other.next(t)
	have := max(first.Report(media.Video).Packets, second.Report(media.Video).Packets)
	feed(p2, func(r mediatest.Report) bool { return r.Packets > have+30 && r.Missing == 0 })

	if err := s1.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p2.closed:
		t.Error("closed while somebody listens")
	case <-time.After(50 * time.Millisecond): // absence can only be waited for
	}
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p2.closed:
	case <-time.After(5 * time.Second):
		t.Error("not closed after the last one left")
	}
}

func TestPublisherGoneEndsThePull(t *testing.T) {
	t.Parallel()
	other := newOtherNode(0)
	e := engine(t, media.Config{}, media.Deps{Remote: other})
	_, s := subscribe(t, e, mediatest.SubscriberConfig{}, false, remotePublication())
	p := other.next(t)
	p.why = media.ErrPublisherGone
	close(p.done)
	<-p.closed
	select {
	case <-other.came:
		t.Error("pulled again")
	case <-time.After(400 * time.Millisecond): // longer than the first retry takes
	}
	// Published again under another generation.
	again := remotePublication()
	again.ID.Generation++
	if err := s.Rebind(again); err != nil {
		t.Fatal(err)
	}
	other.next(t)
}

// brokenSource panics at its first packet.
type brokenSource struct{ media.Source }

func (brokenSource) Read([]*media.Packet) (int, error) { panic("for the test") }

// breaksOnce brings a broken source, and after that good ones.
type breaksOnce struct {
	*otherNode
	once sync.Once
}

func (b *breaksOnce) Pull(ctx context.Context, pub media.Publication) (*media.Relayed, error) {
	r, err := b.otherNode.Pull(ctx, pub)
	b.once.Do(func() { r.Layers[0].Source = brokenSource{r.Layers[0].Source} })
	return r, err
}

func TestPanicEndsThePullOnly(t *testing.T) {
	t.Parallel()
	other := newOtherNode(0)
	reg := prometheus.NewRegistry()
	e := engine(t, media.Config{}, media.Deps{Remote: &breaksOnce{otherNode: other}, Registerer: reg})
	_, _ = subscribe(t, e, mediatest.SubscriberConfig{}, false, remotePublication())
	<-other.next(t).closed
	other.next(t) // pulled again
	if n := metric(t, reg, "talkd_media_panics_total"); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}
