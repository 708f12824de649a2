package media

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media/rewrite"
)

// MaxPacket is the largest RTP packet that is forwarded, the MTU of Ethernet.
const MaxPacket = 1500

const rtpHeaderLen = 12

// Packet is one RTP packet of a layer, in the cluster's form: payload type and
// header extension ids are those of the cluster (see Ext* and PayloadType),
// padding is removed, sequence number, timestamp and payload are the
// publisher's. It is immutable once it has left its producer, and goes back to
// its Pool with the last Release.
type Packet struct {
	Sequence  uint16
	Timestamp uint32
	Marker    bool
	Arrival   time.Time

	// What its layer has found in a packet of video, once for all who get it.
	described  bool        // what follows is known
	keyframe   bool        // begins with it
	picture    rewrite.VP8 // its descriptor
	hasPicture bool
	// passed is set when its layer has let it through.
	passed bool

	refs    atomic.Int32
	pool    *Pool
	n       int // length of the packet in buf
	payload int // offset of the payload in buf
	padding int // bytes behind the packet, see even
	ext     int // offset of the extension's data, 0 without extension
	extEnd  int
	buf     [MaxPacket]byte
}

// Pool recycles packets. The zero value is ready.
type Pool struct {
	packets sync.Pool
}

// Get returns an empty packet with one reference.
func (p *Pool) Get() *Packet {
	pkt, ok := p.packets.Get().(*Packet)
	if !ok {
		pkt = &Packet{pool: p}
	}
	pkt.refs.Store(1)
	pkt.n, pkt.padding = 0, 0
	pkt.described, pkt.keyframe, pkt.hasPicture, pkt.passed = false, false, false, false
	return pkt
}

// Buffer is where a producer puts the bytes of the packet before Parse.
func (p *Packet) Buffer() []byte { return p.buf[:] }

// Raw is the whole packet in wire form (RFC 3550 5.1).
func (p *Packet) Raw() []byte { return p.buf[:p.n] }

// Payload is the packet without header, extensions and padding.
func (p *Packet) Payload() []byte { return p.buf[p.payload:p.n] }

// PayloadType is the payload type of the packet.
func (p *Packet) PayloadType() uint8 { return p.buf[1] & 0x7f }

// SSRC is the publisher's, or the one that a relay gave.
func (p *Packet) SSRC() uint32 { return binary.BigEndian.Uint32(p.buf[8:]) }

// describe reads, once, what RTP adds to the payload of a packet of video. begins is
// that of its format.
func (p *Packet) describe(begins func(payload []byte) bool) {
	if p.described {
		return
	}
	p.described = true
	if begins != nil {
		p.keyframe = begins(p.Payload())
		return
	}
	var err error
	p.picture, err = rewrite.ParseVP8(p.Payload())
	p.hasPicture = err == nil
	p.keyframe = p.hasPicture && p.picture.Keyframe
}

// Retain adds a reference.
func (p *Packet) Retain() {
	if p.refs.Add(1) <= 1 {
		panic("media: Retain of a released packet")
	}
}

// Release gives a reference back; the packet must not be used afterwards.
func (p *Packet) Release() {
	switch n := p.refs.Add(-1); {
	case n == 0:
		p.pool.packets.Put(p)
	case n < 0:
		panic("media: Release of a released packet")
	}
}

// renumber gives the packet another sequence number, before it has left its
// producer.
func (p *Packet) renumber(seq uint16) {
	p.Sequence = seq
	binary.BigEndian.PutUint16(p.buf[2:], seq)
}

// repicture maps the picture ids of a packet of VP8, before it has left its producer.
func (p *Packet) repicture(m *rewrite.Pictures) {
	if p.hasPicture && m.Map(&p.picture) {
		p.picture.Put(p.Payload())
	}
}

// Parse reads the header of the first n bytes of Buffer, and takes off padding
// (RFC 3550 5.1).
func (p *Packet) Parse(n int) error {
	if n < rtpHeaderLen || n > MaxPacket {
		return fmt.Errorf("%w: %d bytes", ErrBadPacket, n)
	}
	b := p.buf[:n]
	if b[0]>>6 != 2 {
		return fmt.Errorf("%w: version %d", ErrBadPacket, b[0]>>6)
	}
	at := rtpHeaderLen + 4*int(b[0]&0x0f)
	p.ext, p.extEnd = 0, 0
	if b[0]&0x10 != 0 {
		if at+4 > n {
			return fmt.Errorf("%w: cut short in the extension", ErrBadPacket)
		}
		length := 4 * int(binary.BigEndian.Uint16(b[at+2:]))
		p.ext, p.extEnd = at+4, at+4+length
		at = p.extEnd
	}
	if at > n {
		return fmt.Errorf("%w: cut short in the header", ErrBadPacket)
	}
	if b[0]&paddingBit != 0 {
		pad := int(b[n-1])
		if pad == 0 || at+pad > n {
			return fmt.Errorf("%w: padding of %d bytes", ErrBadPacket, pad)
		}
		n -= pad
		b[0] &^= paddingBit
	}
	p.n, p.payload = n, at
	p.Marker = b[1]&0x80 != 0
	p.Sequence = binary.BigEndian.Uint16(b[2:])
	p.Timestamp = binary.BigEndian.Uint32(b[4:])
	return nil
}

// original makes a retransmission the packet that it repeats, of the layer's
// SSRC (RFC 4588 4). It is false for one that is only padding.
func (p *Packet) original(ssrc uint32) bool {
	if p.n < p.payload+originalLen {
		return false
	}
	copy(p.buf[2:4], p.buf[p.payload:])
	p.Sequence = binary.BigEndian.Uint16(p.buf[2:])
	binary.BigEndian.PutUint32(p.buf[8:], ssrc)
	copy(p.buf[p.payload:], p.buf[p.payload+originalLen:p.n])
	p.n -= originalLen
	return true
}
