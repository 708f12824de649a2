package relay

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
	"github.com/talkd/talkd/store"
)

// runEngine gives the node an engine of its own, until the end of the test.
func (t *testNode) runEngine() *media.Engine {
	t.net.t.Helper()
	return t.runEngineWith(media.Config{})
}

func (t *testNode) runEngineWith(cfg media.Config) *media.Engine {
	tt := t.net.t
	tt.Helper()
	cfg.ListenUDP = "127.0.0.1:0"
	e, err := media.NewEngine(cfg,
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
	return publishAs(ctx, t, e, id, mediatest.PublisherConfig{Audio: true, Video: true, Data: true, Stream: 7 + id.Incarnation})
}

func publishAs(ctx context.Context, t *testing.T, e *media.Engine, id media.PubID, cfg mediatest.PublisherConfig) (*mediatest.Publisher, *media.Publisher) {
	t.Helper()
	c, err := mediatest.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	offer, err := c.Offer()
	if err != nil {
		t.Fatal(err)
	}
	p, answer, err := e.Publish(ctx, media.PublishRequest{ID: id, Group: "room", Offer: offer, Prefer: cfg.Prefer()})
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

// TestOtherCodecs: what is neither VP8 nor known to older nodes goes to another node
// as it goes here: the description of the publication says what it is, and video
// begins with a keyframe.
func TestOtherCodecs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	n := newNetwork(t, "edge", "listener")
	a, b := n.node("edge").runEngine(), n.node("listener").runEngine()
	for i, codec := range []string{webrtc.MimeTypeH264, webrtc.MimeTypeVP9} {
		client, p := publishAs(ctx, t, a, media.PubID{Session: store.SessionID(codec), Kind: media.KindVideo},
			mediatest.PublisherConfig{Video: true, Codec: codec, Stream: uint32(60 + i)})
		// As it is announced to the other nodes.
		raw, err := json.Marshal(p.Publication())
		if err != nil {
			t.Fatal(err)
		}
		var pub media.Publication
		if err := json.Unmarshal(raw, &pub); err != nil {
			t.Fatal(err)
		}
		client.Start()
		c := subscribeClient(ctx, t, b, pub)
		r, err := c.Wait(ctx, media.Video, func(r mediatest.Report) bool { return r.Packets >= 60 && r.Missing == 0 })
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Faults) > 0 || !r.First.Keyframe {
			t.Errorf("%s: begins with a keyframe: %v, %v", codec, r.First.Keyframe, r.Faults)
		}
	}
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

// Of three people on two nodes one is heard, who is the loudest at the moment. The
// others are heard nowhere, and do not cross between the nodes.
func TestLoudestOfTwoNodes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitFor)
	defer cancel()
	n := newNetwork(t, "edge", "listener")
	edge, listener := n.node("edge"), n.node("listener")
	a, b := edge.runEngineWith(media.Config{Loudest: 1}), listener.runEngineWith(media.Config{Loudest: 1})
	id := func(name store.SessionID, stream uint32) media.PubID {
		return media.PubID{Session: name, Incarnation: stream, Kind: media.KindVideo, Generation: 1}
	}
	alice, pa := publishClient(ctx, t, a, id("alice", 1))
	bob, pb := publishClient(ctx, t, a, id("bob", 2))
	carol, pc := publishClient(ctx, t, b, id("carol", 3))
	crossed := func(p *media.Publisher) (packets uint64) {
		for _, s := range edge.manager.Outgoing() {
			if s.Pub == p.Publication().ID && s.Track == 0 {
				packets += s.Packets
			}
		}
		return packets
	}
	hears := map[*mediatest.Publisher]*mediatest.Subscriber{
		alice: subscribeClient(ctx, t, b, pa.Publication()),
		bob:   subscribeClient(ctx, t, b, pb.Publication()),
		carol: subscribeClient(ctx, t, a, pc.Publication()),
	}
	eventually(t, "pulled", func() bool { return len(edge.manager.Outgoing()) == 4 && len(listener.manager.Outgoing()) == 2 })
	heard := func(who *mediatest.Publisher) {
		t.Helper()
		many := hears[who].Report(media.Audio).Packets + 20
		if _, err := hears[who].Wait(ctx, media.Audio, func(r mediatest.Report) bool { return r.Packets >= many }); err != nil {
			t.Fatal(err)
		}
	}
	silent := func(who *mediatest.Publisher) {
		t.Helper()
		if err := hears[who].AwaitQuiet(ctx, media.Audio, 300*time.Millisecond); err != nil {
			t.Error(err)
		}
	}
	alice.Level(20)
	alice.Start()
	heard(alice)
	bob.Level(80)
	carol.Level(70)
	bob.Start()
	carol.Start()
	heard(alice)
	silent(bob)
	silent(carol)
	if n := crossed(pb); n > 0 {
		t.Errorf("%d packets of who is not heard crossed", n)
	}
	if r := hears[alice].Report(media.Audio); r.Missing > 0 || len(r.Faults) > 0 {
		t.Errorf("of the loudest %d packets are missing; %v", r.Missing, r.Faults)
	}
	alice.Level(127)
	bob.Level(10)
	heard(bob)
	silent(alice)
	bob.Level(127)
	carol.Level(10)
	heard(carol)
	silent(bob)
}

// TestFirstListenerSeesAtOnce: who is the first at another node to listen begins with
// the keyframe of just now, as those at the publisher's node do, and the publisher is
// not asked for another one.
func TestFirstListenerSeesAtOnce(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*waitFor)
	defer cancel()
	n := newNetwork(t, "edge", "listener")
	a, b := n.node("edge").runEngine(), n.node("listener").runEngine()
	// On a busy machine, connecting takes longer than a keyframe is of use, and what the
	// first listener asked for is still on its way.
	for try := range uint32(10) {
		client, p := publishAs(ctx, t, a, media.PubID{Session: "first", Kind: media.KindVideo, Incarnation: try},
			mediatest.PublisherConfig{Video: true, Stream: 70 + try})
		client.Start()
		here := subscribeClient(ctx, t, a, p.Publication())
		if _, err := here.Wait(ctx, media.Video, func(r mediatest.Report) bool { return r.Packets >= 90 }); err != nil {
			t.Fatal(err)
		}
		client.Refresh()
		keys := here.Report(media.Video).Keyframes
		if _, err := here.Wait(ctx, media.Video, func(r mediatest.Report) bool { return r.Keyframes > keys }); err != nil {
			t.Fatal(err)
		}
		began, asked := time.Now(), client.Keyframes()
		there := subscribeClient(ctx, t, b, p.Publication())
		connected := time.Now()
		if _, err := there.Wait(ctx, media.Video, func(r mediatest.Report) bool { return r.Packets > 0 }); err != nil {
			t.Fatal(err)
		}
		t.Logf("connected within %v, video %v later", connected.Sub(began).Round(time.Millisecond), time.Since(connected).Round(10*time.Microsecond))
		r, err := there.Wait(ctx, media.Video, func(r mediatest.Report) bool { return r.Packets >= 60 && r.Missing == 0 })
		if err != nil {
			t.Fatal(err)
		}
		if connected.Sub(began) > 400*time.Millisecond || client.Keyframes() != asked {
			t.Logf("try %d: the publisher was asked for %d more keyframes", try, client.Keyframes()-asked)
			continue
		}
		if first := r.First.Frame(media.Video); !r.First.Keyframe || len(r.Faults) > 0 {
			t.Errorf("begins with frame %d, keyframe %v; %v", first, r.First.Keyframe, r.Faults)
		}
		return
	}
	t.Error("the publisher is asked for another keyframe each time")
}
