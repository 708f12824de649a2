package media_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// mute is the socket of a client that asks, but answers nothing while it is mute.
type mute struct {
	net.PacketConn
	on atomic.Bool
}

// newMute has a client use such a socket.
func newMute(t *testing.T) (*mute, mediatest.Options) {
	t.Helper()
	socket, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mute{PacketConn: socket}
	mux := webrtc.NewICEUDPMux(nil, m)
	t.Cleanup(func() {
		_ = mux.Close()
		_ = socket.Close()
	})
	return m, mediatest.Options{Settings: func(s *webrtc.SettingEngine) { s.SetICEUDPMux(mux) }}
}

func (m *mute) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.on.Load() && stun.IsMessage(b) && b[0] == 1 { // a response
		return len(b), nil
	}
	return m.PacketConn.WriteTo(b, to)
}

// Who answers no requests is sent nothing soon, gets media again when it answers
// again, and is cut off in the end; that requests of its own come, which can be
// forged as to their sender, does not count.
func TestConsent(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	e.Patience(900*time.Millisecond, 3*time.Second, 400*time.Millisecond)
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 44})
	way, options := newMute(t)
	ended := make(chan error, 1)
	c, s, err := attached(t, e, options, p.Publication(), ended)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	sender.Start()
	both := func(n int) {
		t.Helper()
		for _, kind := range []string{media.Audio, media.Video} {
			before := c.Report(kind).Packets
			wait(t, c, kind, func(r mediatest.Report) bool { return r.Packets >= before+n })
		}
	}
	both(10)
	way.on.Store(true)
	for _, kind := range []string{media.Audio, media.Video} {
		quiet(t, c, kind)
	}
	select {
	case err := <-ended:
		t.Fatalf("the connection ended at once: %v", err)
	default:
	}
	way.on.Store(false)
	both(10)
	for _, kind := range []string{media.Audio, media.Video} {
		clean(t, c.Report(kind)) // what was not sent is no gap
	}
	way.on.Store(true)
	cutOff(t, ended)
}

// A publisher that answers nothing is not told about its packets for ever either.
func TestConsentOfPublisher(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	e.Patience(500*time.Millisecond, 1500*time.Millisecond, 100*time.Millisecond)
	way, options := newMute(t)
	ended := make(chan error, 1)
	c, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Options: options, Audio: true, Stream: 45}, func(err error) { ended <- err })
	defer func() { _ = p.Close() }()
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	c.Start()
	way.on.Store(true)
	cutOff(t, ended)
}

func cutOff(t *testing.T, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if !errors.Is(err, media.ErrConnection) {
			t.Errorf("ended by %v", err)
		}
	case <-within(t).Done():
		t.Error("the connection does not end")
	}
}

// attached connects a client, and tells how its connection ended.
func attached(t *testing.T, e *media.Engine, o mediatest.Options, pub media.Publication, ended chan<- error) (*mediatest.Subscriber, *media.Subscriber, error) {
	t.Helper()
	c, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{Options: o})
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	s, offer, err := e.Subscribe(within(t), media.SubscribeRequest{
		Publications: []media.Publication{pub}, Group: "room", OnClose: func(err error) { ended <- err },
	})
	if err != nil {
		return nil, nil, err
	}
	answer, err := c.Answer(offer)
	if err != nil {
		return nil, nil, err
	}
	if err := s.Answer(answer); err != nil {
		return nil, nil, err
	}
	return c, s, c.Connected(within(t))
}
