package media_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
	"github.com/talkd/talkd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const self store.NodeID = "n1"

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// engine runs until the end of the test.
func engine(t *testing.T, cfg media.Config, deps media.Deps) *media.Engine {
	t.Helper()
	cfg.ListenUDP = "127.0.0.1:0"
	deps.Self = self
	e, err := media.NewEngine(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(15 * time.Second):
			t.Error("Run does not return")
		}
	})
	return e
}

func pubID(session string, generation uint32) media.PubID {
	return media.PubID{Session: store.SessionID(session), Kind: media.KindVideo, Generation: generation}
}

// publish connects a client and lets it send.
func publish(t *testing.T, e *media.Engine, id media.PubID, cfg mediatest.PublisherConfig) (*mediatest.Publisher, *media.Publisher) {
	t.Helper()
	c, p := offer(t, e, id, cfg, nil)
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	return c, p
}

func offer(t *testing.T, e *media.Engine, id media.PubID, cfg mediatest.PublisherConfig, onClose func(error)) (*mediatest.Publisher, *media.Publisher) {
	t.Helper()
	return offerFor(t, e, cfg, media.PublishRequest{ID: id, OnClose: onClose})
}

// offerFor lets a client offer in the way that the request says.
func offerFor(t *testing.T, e *media.Engine, cfg mediatest.PublisherConfig, r media.PublishRequest) (*mediatest.Publisher, *media.Publisher) {
	t.Helper()
	c, err := mediatest.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	sdp, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	r.Group, r.Offer, r.Prefer = "room", sdp, cfg.Prefer()
	p, answer, err := e.Publish(within(t), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Answer(answer); err != nil {
		t.Fatal(err)
	}
	return c, p
}

// subscribe connects a client to publications.
func subscribe(t *testing.T, e *media.Engine, cfg mediatest.SubscriberConfig, data bool, pubs ...media.Publication) (*mediatest.Subscriber, *media.Subscriber) {
	t.Helper()
	return subscribeFor(t, e, cfg, media.SubscribeRequest{Publications: pubs, Group: "room", DataChannel: data})
}

// subscribeFor asks for whatever the request says.
func subscribeFor(t *testing.T, e *media.Engine, cfg mediatest.SubscriberConfig, r media.SubscribeRequest) (*mediatest.Subscriber, *media.Subscriber) {
	t.Helper()
	c, s, offer := offered(t, e, cfg, r)
	accept(t, c, s, offer)
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// offered is a client before it knows the offer that the engine made to it.
func offered(t *testing.T, e *media.Engine, cfg mediatest.SubscriberConfig, r media.SubscribeRequest) (c *mediatest.Subscriber, s *media.Subscriber, offer string) {
	t.Helper()
	c, err := mediatest.NewSubscriber(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, offer, err = e.Subscribe(within(t), r)
	if err != nil {
		t.Fatal(err)
	}
	return c, s, offer
}

// requestFor asks for one publication.
func requestFor(p *media.Publisher) media.SubscribeRequest {
	return media.SubscribeRequest{Publications: []media.Publication{p.Publication()}, Group: "room"}
}

func accept(t *testing.T, c *mediatest.Subscriber, s *media.Subscriber, offer string) {
	t.Helper()
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Answer(answer); err != nil {
		t.Fatal(err)
	}
}

// cutOff waits for a connection that ends by itself.
func cutOff(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, media.ErrConnection) {
			t.Errorf("ended by %v", err)
		}
	case <-within(t).Done():
		t.Fatal("the connection does not end")
	}
}

func packets(n int) func(mediatest.Report) bool {
	return func(r mediatest.Report) bool { return r.Packets >= n && r.Missing == 0 }
}

func wait(t *testing.T, c *mediatest.Subscriber, kind string, want func(mediatest.Report) bool) mediatest.Report {
	t.Helper()
	r, err := c.Wait(within(t), kind, want)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// quiet waits until what is on its way has come, and then nothing does.
func quiet(t *testing.T, c *mediatest.Subscriber, kind string) {
	t.Helper()
	if err := c.AwaitQuiet(within(t), kind, 300*time.Millisecond); err != nil {
		t.Error(err)
	}
}

func clean(t *testing.T, r mediatest.Report) {
	t.Helper()
	for _, f := range r.Faults {
		t.Error(f)
	}
	if r.Missing != 0 || r.Duplicates != 0 || r.Late != 0 {
		t.Errorf("%d missing, %d twice, %d late", r.Missing, r.Duplicates, r.Late)
	}
}

func TestForwardsToAllUnchanged(t *testing.T) {
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 1})
	var clients []*mediatest.Subscriber
	for range 3 {
		c, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
		clients = append(clients, c)
	}
	sender.Start()
	for _, c := range clients {
		audio := wait(t, c, media.Audio, packets(50))
		video := wait(t, c, media.Video, packets(75))
		clean(t, audio)
		clean(t, video)
		if !video.First.Keyframe {
			t.Error("video does not begin with a keyframe")
		}
		if c.Extensions(media.Audio) == 0 || c.Extensions(media.Video) == 0 {
			t.Errorf("header extensions: %d audio levels, %d orientations", c.Extensions(media.Audio), c.Extensions(media.Video))
		}
	}
	g := e.Counters()
	if len(g) != 1 || g[0].Group != "room" || g[0].Publishers != 1 || g[0].Subscribers != 3 {
		t.Fatalf("counters: %+v", g)
	}
	if tot := e.Totals(); tot.PacketsOut < 3*120 || tot.PacketsIn < 125 || tot.BytesOut < tot.BytesIn {
		t.Errorf("totals: %+v", tot)
	}
}
