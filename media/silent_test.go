package media_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// A client that hears nothing for some seconds while it connects, as its processor
// is busy or its network away, is connected when it is back. It does not become a
// stranger for having been silent, though it is asked no more than a few times.
func TestSilentWhileConnecting(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := engine(t, media.Config{}, media.Deps{Registerer: registry})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 75})
	sender.Start()

	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	away := &deaf{PacketConn: socket}
	away.silent.Store(true)
	mux := webrtc.NewICEUDPMux(nil, away)
	t.Cleanup(func() { _ = mux.Close() })
	c, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{Options: mediatest.Options{
		Settings: func(s *webrtc.SettingEngine) {
			s.SetICEUDPMux(mux)
			s.SetICEMaxBindingRequests(150) // browsers do not give up after a second either
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	s, offer, err := e.Subscribe(within(t), media.SubscribeRequest{Publications: []media.Publication{p.Publication()}, Group: "room"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Answer(answer); err != nil {
		t.Fatal(err)
	}
	heldBack := func() float64 {
		return metric(t, registry, "talkd_media_udp_dropped_total", "reason", "unanswered")
	}
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); heldBack() == 0; {
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatal("nothing is held back from who does not answer")
		}
	}
	away.silent.Store(false)
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	wait(t, c, media.Audio, packets(10))
}

// deaf is a socket that loses everything while it is silent.
type deaf struct {
	net.PacketConn
	silent atomic.Bool
}

func (m *deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := m.PacketConn.ReadFrom(b)
		if err != nil || !m.silent.Load() {
			return n, from, err
		}
	}
}

func (m *deaf) WriteTo(b []byte, to net.Addr) (int, error) {
	if m.silent.Load() {
		return len(b), nil
	}
	return m.PacketConn.WriteTo(b, to)
}
