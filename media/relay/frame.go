package relay

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/talkd/talkd/media"
)

// The frame: one per datagram, big endian.
//
//	0      1     2        6         10           18
//	version kind  epoch    stream    counter      sealed payload and tag
//
// The header is authenticated. Epoch names the key, in the numbering of the
// node that opens. Stream and counter are the nonce: a stream id is used once
// under a key, and each stream counts from 1, so that the streams of a node
// share neither a counter nor a replay window.
const (
	frameVersion = 1
	headerLen    = 18
	nonceLen     = 12
	tagLen       = 16
	keyLen       = 32
	maxFrame     = headerLen + media.MaxPacket + tagLen
)

type kind uint8

const (
	kindRTP      kind = 1 // a packet
	kindNACK     kind = 2 // sequence numbers of packets to send again, 16 bit each
	kindKeyframe kind = 3 // empty
)

// maxNACK is the number of sequence numbers in one frame.
const maxNACK = 128

type header struct {
	kind    kind
	epoch   uint32
	stream  uint32
	counter uint64
}

func (h header) append(b []byte) []byte {
	b = append(b, frameVersion, byte(h.kind))
	b = binary.BigEndian.AppendUint32(b, h.epoch)
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return binary.BigEndian.AppendUint64(b, h.counter)
}

func (h header) nonce(n *[nonceLen]byte) {
	binary.BigEndian.PutUint32(n[:], h.stream)
	binary.BigEndian.PutUint64(n[4:], h.counter)
}

// parseHeader reads the header of a datagram; false when it is not a frame.
func parseHeader(b []byte) (header, bool) {
	if len(b) < headerLen+tagLen || len(b) > maxFrame || b[0] != frameVersion {
		return header{}, false
	}
	h := header{
		kind:    kind(b[1]),
		epoch:   binary.BigEndian.Uint32(b[2:]),
		stream:  binary.BigEndian.Uint32(b[6:]),
		counter: binary.BigEndian.Uint64(b[10:]),
	}
	return h, h.kind >= kindRTP && h.kind <= kindKeyframe && h.counter != 0
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal appends the frame to dst. The nonce is the caller's memory, as what is
// handed to an AEAD escapes to the heap.
func seal(dst []byte, aead cipher.AEAD, nonce *[nonceLen]byte, h header, plain []byte) []byte {
	at := len(dst)
	dst = h.append(dst)
	h.nonce(nonce)
	return aead.Seal(dst, nonce[:], plain, dst[at:at+headerLen])
}

// open appends the payload of a frame to dst.
func open(dst []byte, aead cipher.AEAD, nonce *[nonceLen]byte, h header, frame []byte) ([]byte, error) {
	h.nonce(nonce)
	return aead.Open(dst, nonce[:], frame[headerLen:], frame[:headerLen])
}

func appendNACK(b []byte, seqs []uint16) []byte {
	for _, s := range seqs {
		b = binary.BigEndian.AppendUint16(b, s)
	}
	return b
}

// parseNACK reads the payload of a kindNACK frame; nil when it is none.
func parseNACK(b []byte) []uint16 {
	if len(b)%2 != 0 || len(b) > 2*maxNACK {
		return nil
	}
	seqs := make([]uint16, 0, len(b)/2)
	for ; len(b) > 0; b = b[2:] {
		seqs = append(seqs, binary.BigEndian.Uint16(b))
	}
	return seqs
}
