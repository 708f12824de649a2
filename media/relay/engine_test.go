package relay

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// runEngine gives the node an engine of its own, until the end of the test.
func (t *testNode) runEngine() *media.Engine {
	tt := t.net.t
	tt.Helper()
	e, err := media.NewEngine(media.Config{ListenUDP: "127.0.0.1:0"},
		media.Deps{Self: t.id, Remote: t.manager, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tt.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	tt.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tt.Errorf("Run of the engine: %v", err)
		}
	})
	t.engine.Store(e)
	return e
}

func publishClient(ctx context.Context, t *testing.T, e *media.Engine, id media.PubID) (*mediatest.Publisher, *media.Publisher) {
	t.Helper()
	c, err := mediatest.NewPublisher(mediatest.PublisherConfig{Audio: true, Video: true, Data: true, Stream: 7 + id.Incarnation})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	p, answer, err := e.Publish(ctx, media.PublishRequest{ID: id, Group: "room", Offer: offer})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Answer(answer), c.Connected(ctx)); err != nil {
		t.Fatal(err)
	}
	return c, p
}

func subscribeClient(ctx context.Context, t *testing.T, e *media.Engine, pub media.Publication) *mediatest.Subscriber {
	t.Helper()
	c, _ := subscribeTo(ctx, t, e, pub)
	return c
}

func subscribeTo(ctx context.Context, t *testing.T, e *media.Engine, pub media.Publication) (*mediatest.Subscriber, *media.Subscriber) {
	t.Helper()
	c, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, offer, err := e.Subscribe(ctx, media.SubscribeRequest{Publications: []media.Publication{pub}, Group: "room", DataChannel: true})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Answer(answer), c.Connected(ctx)); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// A call over two nodes, through real engines and WebRTC clients, while each
// 20th datagram between the nodes is lost: all listeners have all packets, and
// they crossed once.
func TestCallOverLossyNetwork(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitFor)
	defer cancel()
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	a, b := edge.runEngine(), listener.runEngine()
	edge.sock.dropEvery(20, kindRTP)
	client, p := publishClient(ctx, t, a, media.PubID{Session: "alice", Kind: media.KindVideo, Generation: 1})
	var clients []*mediatest.Subscriber
	for range 3 {
		clients = append(clients, subscribeClient(ctx, t, b, p.Publication()))
	}
	eventually(t, "pulled", func() bool { return len(edge.manager.Outgoing()) == 2 })
	client.Start()
	for _, c := range clients {
		for kind, packets := range map[string]int{media.Audio: 100, media.Video: 150} {
			r, err := c.Wait(ctx, kind, func(r mediatest.Report) bool { return r.Packets >= packets && r.Missing == 0 })
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Faults) > 0 {
				t.Errorf("%s: %v", kind, r.Faults)
			}
			if kind == media.Video && !r.First.Keyframe {
				t.Error("video does not begin with a keyframe")
			}
		}
	}
	var sent, lost, came uint64
	for _, s := range edge.manager.Outgoing() {
		sent += s.Packets
	}
	for _, s := range listener.manager.Streams() {
		lost += s.Lost
		came += s.Packets
	}
	if report := clients[0].Report(media.Video).Packets + clients[0].Report(media.Audio).Packets; sent > 2*uint64(report) {
		t.Errorf("%d packets crossed for %d at each of three listeners", sent, report)
	}
	if lost == 0 || lost > sent/10 {
		t.Errorf("%d packets lost of %d", lost, sent)
	}
	t.Logf("%d packets sent, %d came, %d lost on the way", sent, came, lost)

	if err := client.SendText("hello"); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		select {
		case m := <-c.Messages():
			if m != "hello" {
				t.Errorf("message %q", m)
			}
		case <-ctx.Done():
			t.Fatal("no message")
		}
	}
	before := client.Keyframes()
	eventually(t, "keyframe asked for", func() bool { // again and again: the engine may have asked just now
		if err := clients[1].Keyframe(); err != nil {
			t.Fatal(err)
		}
		return client.Keyframes() > before
	})

	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pull and flow have ended", func() bool {
		return len(listener.manager.Streams()) == 0 && len(edge.manager.Outgoing()) == 0
	})
}
