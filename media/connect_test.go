package media_test

import (
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	pionice "github.com/pion/ice/v4"
	pionlog "github.com/pion/logging"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// Whoever listens is connected without a round trip too many: ICE has shown where
// the client is, and DTLS does not ask for it again.
func TestOneClientHello(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 91})
	sender.Start()
	var hellos atomic.Int32
	c, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{Options: mediatest.Options{
		Settings: func(s *webrtc.SettingEngine) {
			s.SetDTLSClientHelloMessageHook(func(m handshake.MessageClientHello) handshake.Message {
				hellos.Add(1)
				return &m
			})
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	listen(t, e, p, c)
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := hellos.Load(); n != 1 {
		t.Errorf("the client said hello %d times", n)
	}
}

// A client whose address is known only from what comes from there, as it hides
// those of its network or is behind a router, does not wait for better ones.
func TestUnknownAddressDoesNotWait(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 92})
	sender.Start()
	// The library's default is a second, which no attempt would be below; on a busy
	// machine one of several may be above.
	const wait, attempts = time.Second, 4
	var took time.Duration
	for range attempts {
		c, err := mediatest.NewSubscriber(mediatest.SubscriberConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		began := time.Now()
		listen(t, e, p, c)
		if err := c.Connected(within(t)); err != nil {
			t.Fatal(err)
		}
		if took = time.Since(began); took < wait {
			return
		}
	}
	t.Errorf("%v until a client without candidates is connected", took)
}

// A client whose first checks by UDP are lost is connected by UDP nevertheless, though
// TCP works at once.
func TestLostChecksAreNoReasonForTCP(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 93})
	sender.Start()
	// On a busy machine checks may be late as well, but not each time.
	const attempts = 4
	// Long enough for TCP, and both sides check again each 200 ms.
	const lost = 250 * time.Millisecond
	quiet := (&pionlog.DefaultLoggerFactory{DefaultLogLevel: pionlog.LogLevelDisabled}).NewLogger("")
	for range attempts {
		udp := newDeaf(t)
		c, s, offer := offered(t, e, mediatest.SubscriberConfig{Options: mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
			s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
			s.SetICEUDPMux(pionice.NewUDPMuxDefault(pionice.UDPMuxParams{UDPConn: udp, Logger: quiet}))
		}}}, requestFor(p))
		accept(t, c, s, offer)
		time.AfterFunc(lost, func() { udp.hears.Store(true) })
		if err := c.Connected(within(t)); err != nil {
			t.Fatal(err)
		}
		wait(t, c, media.Audio, packets(1))
		if protocol, _ := s.Destination(); protocol == webrtc.ICEProtocolUDP {
			return
		}
	}
	t.Error("connected by TCP")
}

// deaf is a socket of UDP that loses everything until it hears.
type deaf struct {
	net.PacketConn
	hears atomic.Bool
}

func newDeaf(t *testing.T) *deaf {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &deaf{PacketConn: c}
}

func (d *deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil || d.hears.Load() {
			return n, from, err
		}
	}
}

func (d *deaf) WriteTo(b []byte, to net.Addr) (int, error) {
	if !d.hears.Load() {
		return len(b), nil
	}
	return d.PacketConn.WriteTo(b, to)
}

// listen lets a client listen, which names no candidates.
func listen(t *testing.T, e *media.Engine, p *media.Publisher, c *mediatest.Subscriber) {
	t.Helper()
	s, offer, err := e.Subscribe(within(t), media.SubscribeRequest{Publications: []media.Publication{p.Publication()}, Group: "room"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Answer(withoutCandidates(answer)); err != nil {
		t.Fatal(err)
	}
}

func withoutCandidates(sdp string) string {
	lines := strings.Split(sdp, "\r\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "a=candidate:") }), "\r\n")
}
