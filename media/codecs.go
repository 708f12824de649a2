package media

import (
	"errors"
	"fmt"

	"github.com/pion/webrtc/v4"
)

// codecs registers what a connection has to do with.
func codecs(used []*format, audio, video []webrtc.RTCPFeedback) (*webrtc.MediaEngine, error) {
	m := &webrtc.MediaEngine{}
	for _, f := range used {
		feedback := audio
		if f.kind == Video {
			feedback = video
		}
		for _, p := range f.parameters(feedback) {
			if err := m.RegisterCodec(p, webrtc.NewRTPCodecType(f.kind)); err != nil {
				return nil, fmt.Errorf("media: codecs: %w", err)
			}
		}
	}
	return m, nil
}

// parameters are those of the codec, and of its retransmissions.
func (f *format) parameters(feedback []webrtc.RTCPFeedback) []webrtc.RTPCodecParameters {
	all := []webrtc.RTPCodecParameters{{
		RTPCodecCapability: webrtc.RTPCodecCapability{
			MimeType: f.codec.MimeType, ClockRate: f.codec.ClockRate, Channels: f.codec.Channels, SDPFmtpLine: f.codec.Fmtp, RTCPFeedback: feedback,
		},
		PayloadType: webrtc.PayloadType(f.payload),
	}}
	if f.repair != 0 {
		all = append(all, webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: mimeRTX, ClockRate: f.codec.ClockRate, SDPFmtpLine: fmt.Sprintf("apt=%d", f.payload),
			},
			PayloadType: webrtc.PayloadType(f.repair),
		})
	}
	return all
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
func forPublishers(used []*format) (*webrtc.MediaEngine, error) {
	m, err := codecs(used,
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

// feedbackOfSubscribers is what they may ask for about video.
func feedbackOfSubscribers() []webrtc.RTCPFeedback {
	return []webrtc.RTCPFeedback{{Type: "ccm", Parameter: "fir"}, {Type: "nack"}, {Type: "nack", Parameter: "pli"}}
}

// forSubscribers is for connections that send. The ids of the header extensions
// are given in the order of registration, which makes them those of the cluster;
// downTrack does not rely on it.
func forSubscribers(used []*format) (*webrtc.MediaEngine, error) {
	m, err := codecs(used, nil, feedbackOfSubscribers())
	if err != nil {
		return nil, err
	}
	return m, errors.Join(
		extensions(m, webrtc.RTPCodecTypeAudio, uriAudioLevel),
		extensions(m, webrtc.RTPCodecTypeVideo, uriVideoOrientation),
	)
}
