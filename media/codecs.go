package media

import (
	"errors"
	"fmt"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/webrtc/v4"
)

const payloadRTX = PayloadVP8 + 1

// codecs registers what this node forwards.
func codecs(audio, video []webrtc.RTCPFeedback) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	capability := func(c Codec, feedback []webrtc.RTCPFeedback) webrtc.RTPCodecCapability {
		return webrtc.RTPCodecCapability{
			MimeType: c.MimeType, ClockRate: c.ClockRate, Channels: c.Channels, SDPFmtpLine: c.Fmtp, RTCPFeedback: feedback,
		}
	}
	err := errors.Join(
		m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: capability(codecOpus(), audio), PayloadType: PayloadOpus,
		}, webrtc.RTPCodecTypeAudio),
		m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: capability(codecVP8(), video), PayloadType: PayloadVP8,
		}, webrtc.RTPCodecTypeVideo),
		m.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: capability(Codec{MimeType: mimeRTX, ClockRate: 90000, Fmtp: fmt.Sprintf("apt=%d", PayloadVP8)}, nil),
			PayloadType:        payloadRTX,
		}, webrtc.RTPCodecTypeVideo),
	)
	if err != nil {
		return nil, fmt.Errorf("media: codecs: %w", err)
	}
	return m, nil
}

func extensions(m *webrtc.MediaEngine, kind webrtc.RTPCodecType, uris ...string) error {
	for _, uri := range uris {
		if err := m.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind); err != nil {
			return fmt.Errorf("media: header extension: %w", err)
		}
	}
	return nil
}

// flavour is what connections of one kind are made of.
type flavour struct {
	media    *webrtc.MediaEngine
	registry *interceptor.Registry
}

// forPublishers is for connections that receive. Their interceptors write
// receiver reports and transport-cc feedback; what they cost is paid once per
// published packet. Lost packets are asked for by asker.
func forPublishers() (*flavour, error) {
	m, err := codecs(
		[]webrtc.RTCPFeedback{{Type: "transport-cc"}},
		[]webrtc.RTCPFeedback{
			{Type: "goog-remb"}, {Type: "transport-cc"}, {Type: "ccm", Parameter: "fir"},
			{Type: "nack"}, {Type: "nack", Parameter: "pli"},
		})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		extensions(m, webrtc.RTPCodecTypeAudio, uriMid, uriTransportCC, uriAbsSendTime, uriAudioLevel),
		extensions(m, webrtc.RTPCodecTypeVideo, uriMid, uriRID, uriRepairedRID, uriTransportCC, uriAbsSendTime, uriVideoOrientation),
	)
	if err != nil {
		return nil, err
	}
	reports, err := report.NewReceiverInterceptor(report.WithReceiverLoggerFactory(quiet{}))
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	congestion, err := twcc.NewSenderInterceptor(twcc.WithLoggerFactory(quiet{}))
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	r := &interceptor.Registry{}
	r.Add(reports)
	r.Add(congestion)
	return &flavour{media: m, registry: r}, nil
}

// forSubscribers is for connections that send. They have no interceptors: each
// would cost every forwarded packet, and a history of its own per subscriber.
// The ids of the header extensions are given in the order of registration,
// which makes them those of the cluster; downTrack does not rely on it.
func forSubscribers() (*flavour, error) {
	m, err := codecs(nil, []webrtc.RTCPFeedback{
		{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
	})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		extensions(m, webrtc.RTPCodecTypeAudio, uriAudioLevel),
		extensions(m, webrtc.RTPCodecTypeVideo, uriVideoOrientation),
	)
	if err != nil {
		return nil, err
	}
	return &flavour{media: m, registry: &interceptor.Registry{}}, nil
}
