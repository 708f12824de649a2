package media_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

func noReplayProtection(s *webrtc.SettingEngine) { s.DisableSRTPReplayProtection(true) }

func TestCipher(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		offered []piondtls.SRTPProtectionProfile
		want    string
	}{
		"best of all": {[]piondtls.SRTPProtectionProfile{
			piondtls.SRTP_AES128_CM_HMAC_SHA1_80, piondtls.SRTP_AEAD_AES_128_GCM, piondtls.SRTP_AEAD_AES_256_GCM,
		}, "aes-256-gcm"},
		"without 256": {[]piondtls.SRTPProtectionProfile{
			piondtls.SRTP_AES128_CM_HMAC_SHA1_80, piondtls.SRTP_AEAD_AES_128_GCM,
		}, "aes-128-gcm"},
		"old client": {[]piondtls.SRTPProtectionProfile{piondtls.SRTP_AES128_CM_HMAC_SHA1_80}, "aes-128-cm-sha1"},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			e := engine(t, media.Config{}, media.Deps{Registerer: registry})
			o := mediatest.Options{Settings: func(s *webrtc.SettingEngine) { s.SetSRTPProtectionProfiles(tc.offered...) }}
			sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Options: o, Audio: true, Stream: 20})
			c, _ := subscribe(t, e, mediatest.SubscriberConfig{Options: o}, false, p.Publication())
			sender.Start()
			clean(t, wait(t, c, media.Audio, packets(10)))
			if n := metric(t, registry, "talkd_media_handshakes_total", "profile", tc.want); n != 2 {
				t.Errorf("%v connections with %s", n, tc.want)
			}
		})
	}
}

func TestWeakCipherIsRefused(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := engine(t, media.Config{RequireAES256: true}, media.Deps{Registerer: registry})
	closed := make(chan error, 1)
	weak := mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
		s.SetSRTPProtectionProfiles(piondtls.SRTP_AEAD_AES_128_GCM, piondtls.SRTP_AES128_CM_HMAC_SHA1_80)
	}}
	offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Options: weak, Audio: true, Stream: 42}, func(err error) { closed <- err })
	cutOff(t, closed)
	publish(t, e, pubID("b", 1), mediatest.PublisherConfig{Audio: true, Stream: 43})
	if n := metric(t, registry, "talkd_media_handshakes_total", "profile", "aes-256-gcm"); n != 1 {
		t.Errorf("%v connections", n)
	}
}

func TestPublisherEnds(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	closed := make(chan error, 2)
	c, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Data: true, Stream: 21}, func(err error) { closed <- err })
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	l, ok := e.Local(pubID("a", 1))
	if !ok {
		t.Fatal("not local")
	}
	if err := c.Close(); err != nil { // tells the server by DTLS
		t.Fatal(err)
	}
	cutOff(t, closed)
	<-l.Done()
	if !errors.Is(l.Err(), media.ErrPublisherGone) {
		t.Errorf("publication: %v", l.Err())
	}
	if _, ok := e.Local(pubID("a", 1)); ok {
		t.Error("still there")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.AddCandidate(media.Candidate{Candidate: "candidate:1 1 udp 1 127.0.0.1 1 typ host"}); !errors.Is(err, media.ErrClosed) {
		t.Errorf("candidate after the end: %v", err)
	}
	if n := len(e.Counters()); n != 0 {
		t.Errorf("%d groups are left", n)
	}
	if len(closed) != 0 {
		t.Error("told twice")
	}
}

func TestCloseIsNotReported(t *testing.T) {
	e := engine(t, media.Config{}, media.Deps{})
	_, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 22}, func(err error) { t.Errorf("OnClose: %v", err) })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEngineEndsEverything(t *testing.T) {
	e, err := media.NewEngine(media.Config{ListenUDP: "127.0.0.1:0"}, media.Deps{Self: self})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	closed := make(chan error, 1)
	sender, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Data: true, Stream: 23}, func(err error) { closed <- err })
	c, s := subscribe(t, e, mediatest.SubscriberConfig{}, true, p.Publication())
	sender.Start()
	wait(t, c, media.Video, packets(10))
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("Run does not return")
	}
	if err := <-closed; !errors.Is(err, media.ErrClosed) {
		t.Errorf("OnClose: %v", err)
	}
	if _, err := s.Offer(t.Context()); !errors.Is(err, media.ErrClosed) {
		t.Errorf("Offer: %v", err)
	}
	if err := s.Rebind(p.Publication()); !errors.Is(err, media.ErrClosed) {
		t.Errorf("Rebind: %v", err)
	}
	_, _, err = e.Subscribe(t.Context(), media.SubscribeRequest{Publications: []media.Publication{p.Publication()}})
	if !errors.Is(err, media.ErrClosed) {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{MaxPublishers: 1, MaxSubscribers: 1}, media.Deps{})
	c, p := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 24}, nil)
	sdp := c.PC().LocalDescription().SDP
	for name, tc := range map[string]struct {
		r    media.PublishRequest
		want error
	}{
		"twice":     {media.PublishRequest{ID: pubID("a", 1), Offer: sdp}, media.ErrExists},
		"full":      {media.PublishRequest{ID: pubID("b", 1), Offer: sdp}, media.ErrFull},
		"no id":     {media.PublishRequest{Offer: sdp}, media.ErrBadPublication},
		"no offer":  {media.PublishRequest{ID: pubID("b", 1)}, media.ErrBadOffer},
		"too large": {media.PublishRequest{ID: pubID("b", 1), Offer: sdp + strings.Repeat("a=x\r\n", 20000)}, media.ErrBadOffer},
	} {
		if _, _, err := e.Publish(within(t), tc.r); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	remote := p.Publication()
	remote.Edge = "n2"
	gone := p.Publication()
	gone.ID.Generation++
	strange := p.Publication()
	strange.Tracks = []media.TrackInfo{{Kind: media.Video, Codec: media.Codec{MimeType: "video/H265", ClockRate: 90000}, Layers: []media.LayerInfo{{}}}}
	for name, tc := range map[string]struct {
		pubs []media.Publication
		want error
	}{
		"nothing":       {nil, media.ErrBadPublication},
		"not published": {[]media.Publication{gone}, media.ErrNotFound},
		"no relay":      {[]media.Publication{remote}, media.ErrNoRemote},
		"codec":         {[]media.Publication{strange}, media.ErrBadPublication},
		"twice":         {[]media.Publication{p.Publication(), p.Publication()}, media.ErrBadPublication},
	} {
		if _, _, err := e.Subscribe(within(t), media.SubscribeRequest{Publications: tc.pubs}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, text, err := e.Subscribe(within(t), media.SubscribeRequest{Publications: []media.Publication{p.Publication()}, DataChannel: true})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "m=application") {
		t.Error("no data channel in the offer")
	}
	if again, err := s.Offer(within(t)); err != nil || again != text {
		t.Errorf("the open offer is not repeated: %v", err)
	}
	_, _, err = e.Subscribe(within(t), media.SubscribeRequest{Publications: []media.Publication{p.Publication()}})
	if !errors.Is(err, media.ErrFull) {
		t.Errorf("full: %v", err)
	}
	if err := s.Answer("v=0"); !errors.Is(err, media.ErrBadAnswer) {
		t.Errorf("bad answer: %v", err)
	}
	if err := s.Answer(sdp); !errors.Is(err, media.ErrBadAnswer) {
		t.Errorf("answer to something else: %v", err)
	}
	trickle := func(port int) error {
		return s.AddCandidate(media.Candidate{Candidate: fmt.Sprintf("candidate:1 1 udp 1 127.0.0.1 %d typ host", port)})
	}
	for port := range 2 * 20 { // each twice: what is known is not counted again
		if err := trickle(1 + port/2); err != nil {
			t.Fatal(err)
		}
	}
	if err := trickle(21); !errors.Is(err, media.ErrBadCandidate) {
		t.Errorf("candidates without end: %v", err)
	}
	if err := s.AddCandidate(media.Candidate{Candidate: "candidate:0 1 UDP 1 f3c8a6a2.local 49999 typ host"}); err != nil {
		t.Errorf("what is of no use counts: %v", err)
	}
}

// What a description holds and what is trickled are bounded together.
func TestCandidatesAreBounded(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	_, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 25})
	c, s, sdp := offered(t, e, mediatest.SubscriberConfig{}, requestFor(p))
	candidate := func(port int) string { return fmt.Sprintf("candidate:1 1 udp 1 127.0.0.1 %d typ host", port) }
	for port := 1; port <= 10; port++ { // before the answer
		if err := s.AddCandidate(media.Candidate{Candidate: candidate(port)}); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := c.Answer(sdp)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(answer, "\r\n") {
		if !strings.HasPrefix(line, "a=candidate:") {
			lines = append(lines, line)
		}
		if strings.HasPrefix(line, "a=mid:") {
			for port := 6; port <= 15; port++ { // with the answer, half of them anew
				lines = append(lines, "a="+candidate(port))
			}
		}
	}
	if err := s.Answer(strings.Join(lines, "\r\n")); err != nil {
		t.Fatal(err)
	}
	for port := 11; port <= 21; port++ { // after it
		err := s.AddCandidate(media.Candidate{Candidate: candidate(port)})
		if (port <= 20) != (err == nil) || err != nil && !errors.Is(err, media.ErrBadCandidate) {
			t.Errorf("candidate %d: %v", port, err)
		}
	}
}

func TestTrickledCandidatesAndRenegotiation(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 25})
	r := requestFor(p)
	r.DataChannel = true
	c, s, sdp := offered(t, e, mediatest.SubscriberConfig{}, r)
	answer, err := c.Answer(sdp)
	if err != nil {
		t.Fatal(err)
	}
	var rest []string
	for _, line := range strings.Split(answer, "\r\n") {
		if v, ok := strings.CutPrefix(line, "a="); ok && strings.HasPrefix(v, "candidate:") {
			// Trickled, and before the answer.
			if err := s.AddCandidate(media.Candidate{Candidate: v}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		rest = append(rest, line)
	}
	if err := s.AddCandidate(media.Candidate{}); err != nil {
		t.Errorf("end of candidates: %v", err)
	}
	if err := s.Answer(strings.Join(rest, "\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	sender.Start()
	wait(t, c, media.Audio, packets(10))
	if err := s.Answer(answer); !errors.Is(err, media.ErrState) {
		t.Errorf("answer without an offer: %v", err)
	}
	sdp, err = s.Offer(within(t))
	if err != nil {
		t.Fatal(err)
	}
	accept(t, c, s, sdp)
	have := c.Report(media.Audio).Packets
	clean(t, wait(t, c, media.Audio, packets(have+20)))
}

func TestTCPCandidates(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	o := mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	}}
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Options: o, Video: true, Stream: 26})
	c, _ := subscribe(t, e, mediatest.SubscriberConfig{Options: o}, false, p.Publication())
	sender.Start()
	clean(t, wait(t, c, media.Video, packets(60)))
}

// scatter sends every packet under an SSRC of its own.
type scatter struct {
	*webrtc.TrackLocalStaticRTP
	out webrtc.TrackLocalWriter
}

func (s *scatter) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	s.out = c.WriteStream()
	return s.TrackLocalStaticRTP.Bind(c)
}

func TestStreamsWithoutEndEndTheConnection(t *testing.T) {
	t.Parallel()
	e := engine(t, media.Config{}, media.Deps{})
	closed := make(chan error, 1)
	c, _ := offer(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Stream: 27}, func(err error) { closed <- err })
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "scatter", "client")
	if err != nil {
		t.Fatal(err)
	}
	s := &scatter{TrackLocalStaticRTP: track}
	if err := c.PC().GetSenders()[0].ReplaceTrack(s); err != nil {
		t.Fatal(err)
	}
	for ssrc := range uint32(1000) {
		h := &rtp.Header{Version: 2, PayloadType: 109, SSRC: 1 + ssrc}
		if _, err := s.out.WriteRTP(h, make([]byte, 100)); err != nil {
			break // the server has closed
		}
		if ssrc%16 == 0 {
			time.Sleep(time.Millisecond) // lets the socket's buffer drain
		}
	}
	cutOff(t, closed)
}
