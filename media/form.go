package media

import "encoding/binary"

// The cluster's form of a packet: the same payload types (formats.go) and header
// extension ids on every node, whatever publisher and subscriber negotiated.
const (
	ExtAudioLevel       = 1 // RFC 6464
	ExtVideoOrientation = 2 // 3GPP TS 26.114
)

const (
	uriAudioLevel       = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	uriVideoOrientation = "urn:3gpp:video-orientation"
	uriMid              = "urn:ietf:params:rtp-hdrext:sdes:mid"
	uriRID              = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	uriRepairedRID      = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
	uriTransportCC      = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	uriAbsSendTime      = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
)

// clusterExt is the cluster's id of a header extension that is forwarded.
func clusterExt(uri string) (uint8, bool) {
	switch uri {
	case uriAudioLevel:
		return ExtAudioLevel, true
	case uriVideoOrientation:
		return ExtVideoOrientation, true
	}
	return 0, false
}

const (
	profileOneByte = 0xbede
	// The low four bits of the two-byte profile are free (RFC 8285 4.3).
	profileTwoByte     = 0x1000
	profileTwoByteMask = 0xfff0
)

// Extension returns the data of a header extension of a packet in the
// cluster's form, nil when it is absent.
func (p *Packet) Extension(id uint8) []byte {
	b := p.buf[p.ext:p.extEnd]
	for i := 0; i < len(b); {
		if b[i] == 0 {
			i++
			continue
		}
		at, length := i+1, int(b[i]&0x0f)+1
		if b[i]>>4 == 15 || at+length > len(b) {
			return nil
		}
		if b[i]>>4 == id {
			return b[at : at+length]
		}
		i = at + length
	}
	return nil
}

// normalise brings a parsed packet of a publisher into the cluster's form: ext
// maps the publisher's header extension ids to the cluster's, 0 drops one.
func (p *Packet) normalise(payloadType uint8, ext *[256]uint8) {
	p.buf[1] = p.buf[1]&0x80 | payloadType
	if p.ext == 0 {
		return
	}
	kept := p.compact(ext)
	if kept > 0 {
		binary.BigEndian.PutUint16(p.buf[p.ext-4:], profileOneByte)
		clear(p.buf[p.ext+kept : p.extEnd])
		return
	}
	// Nothing is left of the extension: closing the gap costs less than sending
	// zeros to another node.
	cut := p.extEnd - (p.ext - 4)
	copy(p.buf[p.ext-4:], p.buf[p.extEnd:p.n])
	p.buf[0] &^= 0x10
	p.n -= cut
	p.payload -= cut
	p.ext, p.extEnd = 0, 0
}

// compact writes the kept elements in one-byte form to the beginning of the
// extension and returns their length. That is never longer than what was read.
func (p *Packet) compact(ext *[256]uint8) int {
	b := p.buf[p.ext:p.extEnd]
	var out int
	for id, data := range p.elements {
		if to := ext[id]; to != 0 && len(data) >= 1 && len(data) <= 16 {
			b[out] = to<<4 | byte(len(data)-1)
			out += 1 + copy(b[out+1:], data)
		}
	}
	return out
}

// elements yields the header extensions of a parsed packet of a publisher, by its
// own ids, in the one-byte and in the two-byte form (RFC 8285 4).
func (p *Packet) elements(yield func(id uint8, data []byte) bool) {
	b := p.buf[p.ext:p.extEnd]
	if len(b) == 0 {
		return
	}
	profile := binary.BigEndian.Uint16(p.buf[p.ext-4:])
	for i := 0; i < len(b); {
		if b[i] == 0 {
			i++
			continue
		}
		var id uint8
		var at, length int
		switch {
		case profile == profileOneByte:
			id, at, length = b[i]>>4, i+1, int(b[i]&0x0f)+1
			if id == 15 {
				return
			}
		case profile&profileTwoByteMask == profileTwoByte && i+1 < len(b):
			id, at, length = b[i], i+2, int(b[i+1])
		default:
			return
		}
		if at+length > len(b) || !yield(id, b[at:at+length]) {
			return
		}
		i = at + length
	}
}
