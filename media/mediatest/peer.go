package mediatest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	pionice "github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	pionlog "github.com/pion/logging"
	"github.com/pion/webrtc/v4"
)

// Options are common to publishers and subscribers.
type Options struct {
	// Settings may change how the client connects.
	Settings func(*webrtc.SettingEngine)
	// NoRTX leaves the retransmission format out.
	NoRTX bool
	// OnlyVP8 leaves all other codecs of video out.
	OnlyVP8 bool
	// Interceptors are between the client and the network, the first next to it.
	Interceptors []interceptor.Factory
}

// header extensions that a client offers or accepts.
const (
	uriMid         = "urn:ietf:params:rtp-hdrext:sdes:mid"
	uriAudioLevel  = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	uriOrientation = "urn:3gpp:video-orientation"
	uriRID         = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	uriTransportCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
)

func newPeer(o Options) (*webrtc.PeerConnection, error) {
	m := &webrtc.MediaEngine{}
	feedback := []webrtc.RTCPFeedback{{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "transport-cc"}}
	err := m.RegisterCodec(webrtc.RTPCodecParameters{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: webrtc.MimeTypeOpus, ClockRate: audioRate, Channels: 2, SDPFmtpLine: "minptime=10;useinbandfec=1",
		}, PayloadType: 109,
	}, webrtc.RTPCodecTypeAudio)
	for i, c := range videoCodecs {
		if i == 0 || !o.OnlyVP8 {
			err = errors.Join(err, c.register(m, feedback, !o.NoRTX))
		}
	}
	for _, uri := range []string{uriMid, uriAudioLevel, uriTransportCC} {
		err = errors.Join(err, m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeAudio))
	}
	for _, uri := range []string{uriMid, uriRID, uriOrientation, uriTransportCC} {
		err = errors.Join(err, m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, webrtc.RTPCodecTypeVideo))
	}
	if err != nil {
		return nil, fmt.Errorf("mediatest: %w", err)
	}
	var s webrtc.SettingEngine
	s.LoggerFactory = &pionlog.DefaultLoggerFactory{DefaultLogLevel: pionlog.LogLevelDisabled}
	s.SetICEMulticastDNSMode(pionice.MulticastDNSModeDisabled)
	s.SetIncludeLoopbackCandidate(true)
	s.SetInterfaceFilter(func(name string) bool { return name == "lo" || name == "lo0" })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	if o.Settings != nil {
		o.Settings(&s)
	}
	registry := &interceptor.Registry{}
	for _, f := range o.Interceptors {
		registry.Add(f)
	}
	pc, err := webrtc.NewAPI(
		webrtc.WithMediaEngine(m),
		webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(s),
	).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, fmt.Errorf("mediatest: %w", err)
	}
	return pc, nil
}

// state lets others wait for the connection.
type state struct {
	once      sync.Once
	connected chan struct{}
}

func watch(pc *webrtc.PeerConnection) *state {
	s := &state{connected: make(chan struct{})}
	pc.OnConnectionStateChange(func(c webrtc.PeerConnectionState) {
		if c == webrtc.PeerConnectionStateConnected {
			s.once.Do(func() { close(s.connected) })
		}
	})
	return s
}

// Connected waits until the connection is established.
func (s *state) Connected(ctx context.Context) error {
	select {
	case <-s.connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mediatest: not connected: %w", ctx.Err())
	}
}

// local sets a description and returns it with all candidates.
func local(pc *webrtc.PeerConnection, d webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(d); err != nil {
		return "", fmt.Errorf("mediatest: %w", err)
	}
	select {
	case <-gathered:
	case <-time.After(5 * time.Second):
		return "", errors.New("mediatest: candidates take too long")
	}
	return pc.LocalDescription().SDP, nil
}
