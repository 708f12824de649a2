package media

import (
	"encoding/binary"

	"github.com/talkd/talkd/media/rewrite"
	"github.com/talkd/talkd/media/srtp"
)

// sending is as what a packet is sent.
type sending int

const (
	first         sending = iota
	identical             // once more, byte for byte
	retransmitted         // once more, with a sequence number of the retransmissions
)

const (
	// maxHeader is the largest header that is written, with two extensions of 16
	// bytes and padding.
	maxHeader = rtpHeaderLen + 4 + 2*(1+16) + 2
	// originalLen is the length of the original sequence number at the beginning of
	// a retransmission (RFC 4588 4).
	originalLen = 2
)

// send seals a packet with the numbers that the subscriber knows it by. The
// payload, which all subscribers share, is read where it is; it is copied only
// where something in it differs for this one.
func (d *downTrack) send(b burst, p *Packet, seq uint16, ts uint32, as sending) (bytes int, ok bool) {
	payload, stream := p.Payload(), d.out.stream
	room := b.Room(maxHeader + originalLen + len(payload) + maxPadding + srtp.MaxOverhead)
	head := d.header(room, p, seq, ts)
	if p.padding > 0 && stream != nil && as != retransmitted {
		payload = p.padded()
		room[0] |= paddingBit
	}
	at := head
	if as == retransmitted {
		stream = d.out.repairStream
		at += d.retransmission(room, head, seq)
	}
	v, differs := d.picture(p, as)
	if differs || at > head || stream == nil {
		copy(room[at:], payload)
		if differs {
			v.Put(room[at:])
		}
		payload = room[head : at+len(payload)]
	}
	var n int
	var err error
	switch {
	case d.egress.sealer == nil:
		n, err = d.out.writer.Write(room[:head+len(payload)])
		return n, err == nil && n > 0
	case as == identical:
		n, err = stream.Again(room, head, payload)
	default:
		n, err = stream.Seal(room, head, payload)
	}
	return n, err == nil && d.egress.send(b, room, n)
}

// header writes the subscriber's header and returns its length.
func (d *downTrack) header(b []byte, p *Packet, seq uint16, ts uint32) int {
	b[0], b[1] = 0x80, d.out.payload
	if p.Marker {
		b[1] |= 0x80
	}
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[4:], ts)
	binary.BigEndian.PutUint32(b[8:], d.out.ssrc)
	const begin = rtpHeaderLen + 4
	at := putExtension(b, begin, d.out.level, p, ExtAudioLevel)
	at = putExtension(b, at, d.out.orientation, p, ExtVideoOrientation)
	if at == begin {
		return rtpHeaderLen
	}
	for ; at%4 != 0; at++ {
		b[at] = 0
	}
	b[0] |= 0x10
	binary.BigEndian.PutUint16(b[rtpHeaderLen:], profileOneByte)
	binary.BigEndian.PutUint16(b[rtpHeaderLen+2:], uint16(at-begin)/4)
	return at
}

// putExtension copies a header extension of the packet, if it has it and the
// subscriber takes it, and returns where the next one begins.
func putExtension(b []byte, at int, id uint8, p *Packet, from uint8) int {
	if id == 0 {
		return at
	}
	data := p.Extension(from)
	if data == nil {
		return at
	}
	b[at] = id<<4 | uint8(len(data)-1)
	return at + 1 + copy(b[at+1:], data)
}

// retransmission makes the header that of a retransmission, and returns the
// length of what stands before the payload.
func (d *downTrack) retransmission(b []byte, head int, original uint16) int {
	d.repairSeq++
	b[1] = b[1]&0x80 | d.out.repair
	binary.BigEndian.PutUint16(b[2:], d.repairSeq)
	binary.BigEndian.PutUint32(b[8:], d.out.repairSSRC)
	binary.BigEndian.PutUint16(b[head:], original)
	return originalLen
}

// picture maps the picture ids of a packet of video to the subscriber's, and
// tells whether any differs.
func (d *downTrack) picture(p *Packet, as sending) (v rewrite.VP8, differs bool) {
	if !p.hasPicture {
		return v, false
	}
	v = p.picture
	if as == first {
		return v, d.pictures.Map(&v)
	}
	return v, d.pictures.Again(&v)
}
