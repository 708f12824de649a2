package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/pion/rtp/codecs"
)

// Kind tells audio from video.
type Kind uint8

// The two streams of a publisher.
const (
	Audio Kind = 1
	Video Kind = 2
)

func (k Kind) String() string {
	switch k {
	case Audio:
		return "audio"
	case Video:
		return "video"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Why a payload is not as it was sent.
var (
	ErrShort      = errors.New("load: payload too short for a stamp")
	ErrForeign    = errors.New("load: payload is not of this load")
	ErrChanged    = errors.New("load: checksum of the payload is wrong")
	ErrDescriptor = errors.New("load: payload descriptor does not fit the packet")
)

// stamp is what a packet says of itself.
type stamp struct {
	Source    uint16        // number of the publisher
	Kind      Kind          //
	Number    uint32        // of the packet in its stream, from 0
	Frame     uint32        // of the frame it belongs to, from 0
	Timestamp uint32        // RTP timestamp it was sent with
	Sent      time.Duration // since the start of the clock
	First     bool          // first packet of its frame
	Last      bool          // last packet of its frame
	Key       bool          // of a keyframe
	Tail      bool          // sent after the count was closed; not counted
}

// On the wire: magic, source, kind, flags, number, frame, timestamp, sent, filler
// to the wanted size, and CRC-32C over all of it and the codec bytes before it.
const (
	stampMagic  = 0x746c6b64
	stampHeader = 4 + 2 + 1 + 1 + 4 + 4 + 4 + 8
	stampSize   = stampHeader + crc32.Size
)

const (
	flagFirst = 1 << iota
	flagLast
	flagKey
	flagTail
)

// castagnoli is read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendStamp writes the stamp behind codec, the bytes that make the payload
// look like its codec, and fills the payload up to size. The descriptor of VP8
// is not part of codec: nodes may rewrite it.
func appendStamp(codec []byte, s stamp, size int) []byte {
	b := codec
	b = binary.BigEndian.AppendUint32(b, stampMagic)
	b = binary.BigEndian.AppendUint16(b, s.Source)
	b = append(b, byte(s.Kind), s.flags())
	b = binary.BigEndian.AppendUint32(b, s.Number)
	b = binary.BigEndian.AppendUint32(b, s.Frame)
	b = binary.BigEndian.AppendUint32(b, s.Timestamp)
	b = binary.BigEndian.AppendUint64(b, uint64(s.Sent))
	for x := mix(uint64(s.Source)<<32 | uint64(s.Number)); len(b) < size-crc32.Size; x = mix(x) {
		b = binary.BigEndian.AppendUint64(b, x)
		b = b[:min(len(b), size-crc32.Size)]
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (s stamp) flags() (f byte) {
	for _, set := range []struct {
		on   bool
		flag byte
	}{{s.First, flagFirst}, {s.Last, flagLast}, {s.Key, flagKey}, {s.Tail, flagTail}} {
		if set.on {
			f |= set.flag
		}
	}
	return f
}

// readStamp checks a payload without descriptor. codec is how many bytes of the
// codec stand before the stamp.
func readStamp(b []byte, codec int) (stamp, error) {
	if len(b) < codec+stampSize {
		return stamp{}, ErrShort
	}
	body, sum := b[:len(b)-crc32.Size], binary.BigEndian.Uint32(b[len(b)-crc32.Size:])
	if binary.BigEndian.Uint32(b[codec:]) != stampMagic {
		return stamp{}, ErrForeign
	}
	if crc32.Checksum(body, castagnoli) != sum {
		return stamp{}, ErrChanged
	}
	h := b[codec+4:]
	flags := h[3]
	return stamp{
		Source:    binary.BigEndian.Uint16(h),
		Kind:      Kind(h[2]),
		Number:    binary.BigEndian.Uint32(h[4:]),
		Frame:     binary.BigEndian.Uint32(h[8:]),
		Timestamp: binary.BigEndian.Uint32(h[12:]),
		Sent:      time.Duration(binary.BigEndian.Uint64(h[16:])),
		First:     flags&flagFirst != 0,
		Last:      flags&flagLast != 0,
		Key:       flags&flagKey != 0,
		Tail:      flags&flagTail != 0,
	}, nil
}

// opusTOC is the first byte of each audio packet: CELT, fullband, 20 ms, mono,
// one frame (RFC 6716 3.1).
const opusTOC = 31 << 3

func readAudio(b []byte) (stamp, error) {
	if len(b) > 0 && b[0] != opusTOC {
		return stamp{}, ErrForeign
	}
	s, err := readStamp(b, 1)
	if err == nil && s.Kind != Audio {
		err = ErrForeign
	}
	return s, err
}

// picture is what a VP8 descriptor says about the frame. Nodes may rewrite it,
// but must keep it consistent.
type picture struct {
	id  uint16 // 15 bits
	tl0 uint8
}

// readVideo checks a payload with its descriptor.
func readVideo(b []byte) (stamp, picture, error) {
	var d codecs.VP8Packet
	body, err := d.Unmarshal(b)
	if err != nil {
		return stamp{}, picture{}, fmt.Errorf("%w: %w", ErrDescriptor, err)
	}
	first := d.S == 1 && d.PID == 0
	codec := 0
	if first && len(body) > 0 {
		codec = len(frameTag(body[0]&1 == 0))
	}
	s, err := readStamp(body, codec)
	if err != nil {
		return stamp{}, picture{}, err
	}
	if s.Kind != Video || s.First != first || d.X != 1 || d.I != 1 || d.L != 1 || d.T != 1 || d.TID != 0 ||
		first && s.Key != (body[0]&1 == 0) {
		return stamp{}, picture{}, ErrDescriptor
	}
	return s, picture{id: d.PictureID, tl0: d.TL0PICIDX}, nil
}

// frameTag is how a VP8 frame begins (RFC 6386 9.1): the P bit, and for a
// keyframe the start code and a size of 640x360. What follows is our stamp; no
// decoder would take it.
func frameTag(key bool) []byte {
	if !key {
		return []byte{0x11, 0, 0}
	}
	return []byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01}
}

// descriptor is the payload descriptor of RFC 7741 4.2 with all fields that
// browsers send.
func descriptor(first, key bool, p picture) []byte {
	d := []byte{0x80, 0xf0, 0x80 | byte(p.id>>8)&0x7f, byte(p.id), p.tl0, 0}
	if first {
		d[0] |= 0x10
	}
	if key {
		d[5] |= 0x20
	}
	return d
}

// mix is a permutation of 64 bits (splitmix64), so that payloads differ from
// packet to packet and are the same in each run.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
