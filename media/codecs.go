package media

import (
	"errors"
	"fmt"

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

// forPublishers is for connections that receive.
func forPublishers() (*webrtc.MediaEngine, error) {
	m, err := codecs(
		[]webrtc.RTCPFeedback{{Type: "transport-cc"}},
		[]webrtc.RTCPFeedback{
			{Type: "goog-remb"}, {Type: "transport-cc"}, {Type: "ccm", Parameter: "fir"},
			{Type: "nack"}, {Type: "nack", Parameter: "pli"},
		})
	if err != nil {
		return nil, err
	}
	return m, errors.Join(
		extensions(m, webrtc.RTPCodecTypeAudio, uriMid, uriTransportCC, uriAbsSendTime, uriAudioLevel),
		extensions(m, webrtc.RTPCodecTypeVideo, uriMid, uriRID, uriRepairedRID, uriTransportCC, uriAbsSendTime, uriVideoOrientation),
	)
}

// forSubscribers is for connections that send. The ids of the header extensions
// are given in the order of registration, which makes them those of the cluster;
// downTrack does not rely on it.
func forSubscribers() (*webrtc.MediaEngine, error) {
	m, err := codecs(nil, []webrtc.RTCPFeedback{
		{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"},
	})
	if err != nil {
		return nil, err
	}
	return m, errors.Join(
		extensions(m, webrtc.RTPCodecTypeAudio, uriAudioLevel),
		extensions(m, webrtc.RTPCodecTypeVideo, uriVideoOrientation),
	)
}
