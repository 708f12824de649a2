package mediatest

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/pion/webrtc/v4"
)

// headLen is what stands before the mark of a packet of video: what the codec's
// payload format adds, filled up.
const headLen = 6

// videoCodec is what clients send and receive, the first of which unless told
// otherwise.
type videoCodec struct {
	mime, fmtp string
	payload    webrtc.PayloadType
	repair     webrtc.PayloadType
	put        func(b []byte, first, key bool, picture uint16)
	read       func(b []byte) (key bool, picture uint16, ok bool)
}

var videoCodecs = [...]videoCodec{
	{webrtc.MimeTypeVP8, "", 120, 124, putVP8, readVP8},
	{webrtc.MimeTypeVP9, "profile-id=0", 121, 125, putVP9, readVP9},
	{webrtc.MimeTypeH264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", 126, 127, putH264, readH264},
	{webrtc.MimeTypeAV1, "level-idx=5;profile=0;tier=0", 45, 46, putAV1, readAV1},
}

// codecOf is that of a MIME type, "" for the usual one.
func codecOf(mime string) videoCodec {
	for _, c := range videoCodecs {
		if strings.EqualFold(mime, c.mime) {
			return c
		}
	}
	return videoCodecs[0]
}

// register makes the codec known to a client.
func (c videoCodec) register(m *webrtc.MediaEngine, feedback []webrtc.RTCPFeedback, repair bool) error {
	all := []webrtc.RTPCodecParameters{{
		RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: c.mime, ClockRate: videoRate, SDPFmtpLine: c.fmtp, RTCPFeedback: feedback},
		PayloadType:        c.payload,
	}}
	if repair {
		all = append(all, webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeRTX, ClockRate: videoRate, SDPFmtpLine: fmt.Sprintf("apt=%d", c.payload)},
			PayloadType:        c.repair,
		})
	}
	for _, p := range all {
		if err := m.RegisterCodec(p, webrtc.RTPCodecTypeVideo); err != nil {
			return fmt.Errorf("%s: %w", p.MimeType, err)
		}
	}
	return nil
}

// putVP8 writes the descriptor of RFC 7741: X, I with 15 bits, L; then one byte of the
// frame.
func putVP8(b []byte, first, key bool, picture uint16) {
	b[0] = 0x80
	if first {
		b[0] |= 0x10
	}
	b[1] = 0xc0
	binary.BigEndian.PutUint16(b[2:], 0x8000|picture)
	b[4] = byte(picture)
	if !key || !first {
		b[5] = 0x01
	}
}

func readVP8(b []byte) (key bool, picture uint16, ok bool) {
	return b[0]&0x10 != 0 && b[5]&0x01 == 0, binary.BigEndian.Uint16(b[2:]) & 0x7fff, b[0]&0xef == 0x80 && b[1] == 0xc0 && b[2]&0x80 != 0
}

// putVP9 writes the descriptor of RFC 9628: I with 15 bits, P, B.
func putVP9(b []byte, first, key bool, picture uint16) {
	b[0] = 0x80
	if !key {
		b[0] |= 0x40
	}
	if first {
		b[0] |= 0x08
	}
	binary.BigEndian.PutUint16(b[1:], 0x8000|picture)
}

func readVP9(b []byte) (key bool, picture uint16, ok bool) {
	return b[0]&0x48 == 0x08, binary.BigEndian.Uint16(b[1:]) & 0x7fff, b[0]&^0x48 == 0x80 && b[1]&0x80 != 0
}

// putH264 writes a unit of RFC 6184 5.6: parameters of a sequence, or a slice.
func putH264(b []byte, first, key bool, _ uint16) {
	copy(b, []byte{0x41, 0x9a})
	if first && key {
		copy(b, []byte{0x67, 0x42, 0xe0, 0x1f})
	}
}

func readH264(b []byte) (key bool, picture uint16, ok bool) {
	return b[0] == 0x67, 0, b[0] == 0x67 && b[3] == 0x1f || b[0] == 0x41 && b[1] == 0x9a
}

// putAV1 writes the aggregation header of AV1: W of one, N.
func putAV1(b []byte, first, key bool, _ uint16) {
	b[0] = 0x10
	if first && key {
		b[0] |= 0x08
	}
}

func readAV1(b []byte) (key bool, picture uint16, ok bool) {
	return b[0] == 0x18, 0, b[0]&^0x08 == 0x10
}
