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

	way, options := newHole(t, func([]byte, bool) bool { return true })
	way.open.Store(true)
	c, s, offer := offered(t, e, mediatest.SubscriberConfig{Options: options}, requestFor(p))
	accept(t, c, s, offer)
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
	way.open.Store(false)
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	wait(t, c, media.Audio, packets(10))
}

// hole is the socket of a client that loses what it is told to, while it is open.
type hole struct {
	net.PacketConn
	open  atomic.Bool
	loses func(b []byte, out bool) bool
}

// newHole has a client use such a socket.
func newHole(t *testing.T, loses func(b []byte, out bool) bool) (*hole, mediatest.Options) {
	t.Helper()
	socket, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{PacketConn: socket, loses: loses}
	mux := webrtc.NewICEUDPMux(nil, h)
	t.Cleanup(func() {
		_ = mux.Close()
		_ = socket.Close()
	})
	return h, mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
		s.SetICEUDPMux(mux)
		s.SetICEMaxBindingRequests(150) // browsers do not give up after a second either
	}}
}

func (h *hole) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := h.PacketConn.ReadFrom(b)
		if err != nil || !h.open.Load() || !h.loses(b[:n], false) {
			return n, from, err
		}
	}
}

func (h *hole) WriteTo(b []byte, to net.Addr) (int, error) {
	if h.open.Load() && h.loses(b, true) {
		return len(b), nil
	}
	return h.PacketConn.WriteTo(b, to)
}
