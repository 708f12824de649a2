package rewrite

import "encoding/binary"

// The functions here tell of a payload whether a keyframe begins with it: whether
// who has seen nothing before can begin there. They look at the header that RTP
// adds and no further, as the rest may be encrypted end to end. For VP8, whose
// picture ids are rewritten as well, that is ParseVP8.

// KeyframeVP9 reads the payload descriptor of RFC 9628 4.2. With spatial layers
// the lowest one begins the picture, and the higher ones build on it.
func KeyframeVP9(b []byte) bool {
	const pictureID, predicted, layers, begin = 0x80, 0x40, 0x20, 0x08
	if len(b) < 2 || b[0]&begin == 0 || b[0]&predicted != 0 {
		return false
	}
	if b[0]&layers == 0 {
		return true
	}
	at := 1
	if b[0]&pictureID != 0 {
		if b[at]&0x80 != 0 { // 15 bits
			at++
		}
		at++
	}
	const spatial, dependent = 0x0e, 0x01
	return at < len(b) && b[at]&(spatial|dependent) == 0
}

// KeyframeH264 looks for a sequence parameter set (RFC 6184 5.2 and 5.7): without
// it nobody can decode the picture behind it, and WebRTC has it in the stream
// before each picture to begin with (RFC 7742 6.2).
func KeyframeH264(b []byte) bool {
	const (
		kind         = 0x1f // of what a unit is, in its first byte
		parameterSet = 7
		aggregation  = 24 // STAP-A: several units, each behind its length
		fragment     = 28 // FU-A: a part of one
		start        = 0x80
	)
	if len(b) < 2 {
		return false
	}
	switch b[0] & kind {
	case parameterSet:
		return true
	case fragment:
		return b[1]&start != 0 && b[1]&kind == parameterSet
	case aggregation:
		for rest := b[1:]; len(rest) > 2; {
			size := int(binary.BigEndian.Uint16(rest))
			rest = rest[2:]
			if size == 0 || size > len(rest) {
				return false
			}
			if rest[0]&kind == parameterSet {
				return true
			}
			rest = rest[size:]
		}
	}
	return false
}

// KeyframeAV1 reads the aggregation header (RTP Payload Format For AV1 1.0, 4.4):
// a new coded video sequence begins, and not in the middle of a unit.
func KeyframeAV1(b []byte) bool {
	const continued, sequence = 0x80, 0x08
	return len(b) > 1 && b[0]&(continued|sequence) == sequence
}
