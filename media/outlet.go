package media

import (
	"fmt"
	"strings"

	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media/srtp"
)

// outlet is what was negotiated for a track.
type outlet struct {
	writer      webrtc.TrackLocalWriter
	ssrc        uint32
	payload     uint8
	repairSSRC  uint32 // 0: no retransmission format
	repair      uint8
	level       uint8 // id of the audio level extension, 0: not negotiated
	orientation uint8

	// What seals, from when the connection is established on; nil where the library
	// does.
	stream, repairStream *srtp.Stream
}

// open makes what seals, if this package does.
func (o *outlet) open(s *srtp.Sealer) error {
	if s == nil || o.writer == nil {
		return nil
	}
	var err error
	if o.stream, err = s.Stream(o.ssrc); err == nil && o.repairSSRC != 0 {
		o.repairStream, err = s.Stream(o.repairSSRC)
	}
	if err != nil {
		*o = outlet{}
	}
	return err
}

// Bind implements webrtc.TrackLocal: the library tells what was negotiated.
func (d *downTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	var chosen webrtc.RTPCodecParameters
	for _, p := range c.CodecParameters() {
		if d.codec.same(Codec{MimeType: p.MimeType, ClockRate: p.ClockRate, Channels: p.Channels, Fmtp: p.SDPFmtpLine}) {
			chosen = p
			break
		}
	}
	if chosen.MimeType == "" {
		// Refused: who cannot decode a video still hears its voice. Without a writer
		// nothing is forwarded.
		return webrtc.RTPCodecParameters{}, nil
	}
	out := outlet{writer: c.WriteStream(), ssrc: uint32(c.SSRC()), payload: uint8(chosen.PayloadType)}
	apt := fmt.Sprintf("apt=%d", chosen.PayloadType)
	for _, p := range c.CodecParameters() {
		if strings.EqualFold(p.MimeType, mimeRTX) && strings.EqualFold(strings.TrimSpace(p.SDPFmtpLine), apt) {
			out.repair, out.repairSSRC = uint8(p.PayloadType), uint32(c.SSRCRetransmission())
		}
	}
	for _, x := range c.HeaderExtensions() {
		if x.ID < 1 || x.ID > 14 {
			continue
		}
		switch x.URI {
		case uriAudioLevel:
			out.level = uint8(x.ID)
		case uriVideoOrientation:
			out.orientation = uint8(x.ID)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.egress != nil {
		if err := out.open(d.egress.sealer); err != nil {
			return webrtc.RTPCodecParameters{}, err
		}
	}
	d.out = out
	return chosen, nil
}

// Unbind implements webrtc.TrackLocal.
func (d *downTrack) Unbind(webrtc.TrackLocalContext) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = outlet{}
	return nil
}

// ID implements webrtc.TrackLocal.
func (d *downTrack) ID() string { return d.id }

// RID implements webrtc.TrackLocal.
func (d *downTrack) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (d *downTrack) StreamID() string { return d.stream }

// Kind implements webrtc.TrackLocal.
func (d *downTrack) Kind() webrtc.RTPCodecType { return webrtc.NewRTPCodecType(d.kind) }

// sends tells whether the track has this SSRC.
func (d *downTrack) sends(ssrc uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.out.writer != nil && d.out.ssrc == ssrc
}
