package srtp

import (
	"encoding/binary"

	piondtls "github.com/pion/dtls/v3"
)

const (
	rtpHeader  = 12
	rtcpHeader = 8 // of the first packet; what follows is encrypted
	rtcpIndex  = 4
	encrypted  = 1 << 31 // of the index of RTCP

	// maxSSRCs is how many SSRCs the other side may have: one for audio, three for
	// video, and three for their retransmissions are in use, and some clients take
	// new ones as they go.
	maxSSRCs = 64
)

// Opener opens the packets of RTP and RTCP that one connection receives. Only
// what is authentic and came for the first time changes anything in it. It
// belongs to one goroutine, or one lock, at a time.
type Opener struct {
	rtp, rtcp packetCipher
	streams   map[uint32]*window
	reports   map[uint32]uint32 // index of the newest RTCP packet, by SSRC
}

// NewOpener takes the master key and salt of the other side.
func NewOpener(id piondtls.SRTPProtectionProfile, key, salt []byte) (*Opener, error) {
	rtp, err := newSession(id, key, salt, labelRTP)
	if err != nil {
		return nil, err
	}
	rtcp, err := newSession(id, key, salt, labelRTCP)
	if err != nil {
		return nil, err
	}
	return &Opener{
		rtp: rtp.cipher(), rtcp: rtcp.cipher(),
		streams: map[uint32]*window{}, reports: map[uint32]uint32{},
	}, nil
}

// Open writes an RTP packet to dst, which must not overlap with b. It returns its
// length, and its index: the sequence number with a count of its rounds before
// it.
func (o *Opener) Open(dst, b []byte) (n int, index uint64, err error) {
	head, ok := headerLen(b)
	if !ok || len(b) < head+o.rtp.overhead() {
		return 0, 0, ErrPacket
	}
	if len(b) > len(dst)+o.rtp.overhead() {
		return 0, 0, ErrRoom
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	w := o.streams[ssrc]
	if w == nil {
		return o.first(dst, b, head, ssrc)
	}
	index, ok = w.index(binary.BigEndian.Uint16(b[2:]))
	if !ok || w.has(index) {
		return 0, 0, ErrPacket
	}
	if n, ok = o.rtp.open(dst, b, head, ssrc, index); !ok {
		return 0, 0, ErrPacket
	}
	w.note(index)
	return n, index, nil
}

// first opens a packet of an SSRC that is new. Only an authentic one makes it
// known.
func (o *Opener) first(dst, b []byte, head int, ssrc uint32) (n int, index uint64, err error) {
	index = uint64(binary.BigEndian.Uint16(b[2:]))
	n, ok := o.rtp.open(dst, b, head, ssrc, index)
	switch {
	case !ok:
		return 0, 0, ErrPacket
	case len(o.streams) == maxSSRCs:
		return 0, 0, ErrStreams
	}
	w := &window{}
	w.note(index)
	o.streams[ssrc] = w
	return n, index, nil
}

// OpenRTCP writes a compound packet of RTCP to dst, which must not overlap with
// b, and returns its length. One that a newer one has overtaken is refused: it
// tells nothing that is still true.
func (o *Opener) OpenRTCP(dst, b []byte) (int, error) {
	if len(b) < rtcpHeader+rtcpIndex+o.rtcp.overhead() {
		return 0, ErrPacket
	}
	if len(b) > len(dst)+rtcpIndex+o.rtcp.overhead() {
		return 0, ErrRoom
	}
	ssrc := binary.BigEndian.Uint32(b[4:])
	index := o.rtcpIndexOf(b)
	last, known := o.reports[ssrc]
	if index&encrypted == 0 || known && index <= last {
		return 0, ErrPacket
	}
	n, ok := o.rtcp.openRTCP(dst, b, ssrc)
	switch {
	case !ok:
		return 0, ErrPacket
	case !known && len(o.reports) == maxSSRCs:
		return 0, ErrStreams
	}
	o.reports[ssrc] = index
	return n, nil
}

// rtcpIndexOf reads the index, which AES-CM has before its tag and AES-GCM at the
// end.
func (o *Opener) rtcpIndexOf(b []byte) uint32 {
	if _, ok := o.rtcp.(*cm); ok {
		b = b[:len(b)-cmTag]
	}
	return binary.BigEndian.Uint32(b[len(b)-rtcpIndex:])
}

// headerLen is the length of what stands before the payload of an RTP packet
// (RFC 3550 5.1). It is false for what is none.
func headerLen(b []byte) (int, bool) {
	if len(b) < rtpHeader || b[0]>>6 != 2 {
		return 0, false
	}
	n := rtpHeader + 4*int(b[0]&0x0f)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, false
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	return n, n <= len(b)
}
