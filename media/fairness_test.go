package media_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// relayTCP listens for connections that it passes on to an address, and stops
// reading what comes back when it is told so.
func relayTCP(t *testing.T, to string) (at netip.AddrPort, stop func()) {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var stopped atomic.Bool
	var mu sync.Mutex
	var conns []net.Conn
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(t.Context(), "tcp4", to)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			conns = append(conns, client, server)
			mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(server, client) }) // ends with the test
			wg.Go(func() {
				buf := make([]byte, 4<<10)
				for !stopped.Load() {
					n, err := server.Read(buf)
					if err != nil {
						return
					}
					if _, err := client.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().(*net.TCPAddr).AddrPort(), func() { stopped.Store(true) }
}

var tcpCandidate = regexp.MustCompile(`(candidate:\S+ [12] tcp \d+ \S+ )(\d+)( typ host)`)

// beside plays video to somebody who receives all and to one who does not, who
// costs the former nothing: each frame comes, and voice too. annoy is called
// between frames; by TCP, the other one connects through a relay.
func beside(t *testing.T, registry *prometheus.Registry, tcp bool, annoy func(c *mediatest.Subscriber, s *media.Subscriber, stopRelay func())) {
	t.Helper()
	e := engine(t, media.Config{}, media.Deps{Registerer: registry})
	stop := func() {}
	var o mediatest.SubscriberConfig
	if tcp {
		o.Settings = func(s *webrtc.SettingEngine) { s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4}) }
	}
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 80})
	// The other one comes first, so that it is also served first.
	other, s, offer := offered(t, e, o, requestFor(p))
	if tcp {
		var at netip.AddrPort
		at, stop = relayTCP(t, e.Addr().String())
		offer = tcpCandidate.ReplaceAllString(offer, fmt.Sprintf("${1}%d${3}", at.Port()))
	}
	accept(t, other, s, offer)
	if err := other.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	good, _ := subscribe(t, e, mediatest.SubscriberConfig{}, false, p.Publication())
	const frames, perFrame = 20, 3
	sender.Start()
	for _, kind := range []string{media.Audio, media.Video} {
		wait(t, other, kind, packets(1))
		wait(t, good, kind, packets(1))
	}
	sender.Mute(true)
	for range 120 { // 7 MB of video are more than all queues on the way hold
		annoy(other, s, stop)
		video, voice := good.Report(media.Video).Packets, good.Report(media.Audio).Packets
		sender.Frames(media.Video, frames)
		sender.Frames(media.Audio, frames)
		clean(t, wait(t, good, media.Video, packets(video+frames*perFrame)))
		clean(t, wait(t, good, media.Audio, packets(voice+frames)))
	}
}

func TestTCPReceiverThatDoesNotRead(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	beside(t, registry, true, func(_ *mediatest.Subscriber, _ *media.Subscriber, stop func()) { stop() })
	if n := metric(t, registry, "talkd_media_dropped_total", "where", "tcp"); n == 0 {
		t.Error("nothing was dropped: the test shows nothing")
	}
}

func TestReceiverThatSwallowsAll(t *testing.T) {
	t.Parallel()
	hole, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hole.Close() })
	to := hole.LocalAddr().(*net.UDPAddr).AddrPort()
	beside(t, prometheus.NewRegistry(), false, func(_ *mediatest.Subscriber, s *media.Subscriber, _ func()) {
		s.Turn(webrtc.ICEProtocolUDP, netip.AddrPortFrom(to.Addr(), to.Port()))
	})
}

// Asked for everything again, as often as it can be asked, a node sends half as
// much again at most, and passes few requests on.
func TestReceiverThatAsksForEverything(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	var asking sync.WaitGroup
	var quit atomic.Bool
	t.Cleanup(func() {
		quit.Store(true)
		asking.Wait()
	})
	var begin sync.Once
	annoy := func(c *mediatest.Subscriber, _ *media.Subscriber, _ func()) {
		begin.Do(func() {
			asking.Go(func() {
				seqs := make([]uint16, 256)
				for from := uint16(0); !quit.Load(); from += 256 {
					for i := range seqs {
						seqs[i] = from + uint16(i)
					}
					_ = c.NACK(media.Video, seqs) // fails at the end
					_ = c.Keyframe()
				}
			})
		})
	}
	began := time.Now()
	beside(t, registry, false, annoy)
	sent := metric(t, registry, "talkd_media_packets_out_total")
	if again := metric(t, registry, "talkd_media_resent_packets_total"); again == 0 || again > 256+sent/2 {
		t.Errorf("%v packets again, of %v", again, sent)
	}
	if n, most := metric(t, registry, "talkd_media_keyframe_requests_total"), 2*time.Since(began).Seconds()+2; n > most {
		t.Errorf("%v keyframe requests, want two a second: %v", n, most)
	}
}
