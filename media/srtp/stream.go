package srtp

import "encoding/binary"

// Stream seals the packets of one SSRC. It belongs to one goroutine, or one
// lock, at a time.
//
// The receiver learns the low 16 bits of a packet's index only, and takes for
// granted that they are near those of the newest one (RFC 3711 3.3.1); so does
// the Stream. It knows which of the last packets were sealed, so that a nonce is
// used a second time for the same packet only.
type Stream struct {
	ssrc    uint32
	cipher  packetCipher
	started bool
	high    uint64              // index of the newest packet: roll-over counter and sequence number
	sealed  [window / 64]uint64 // a bit for each index of the window, by its low bits
}

// packetCipher seals dst[head:] and appends the tag. index is 48 bits long.
type packetCipher interface {
	seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte
	overhead() int
}

const (
	// window is how far behind the newest packet one may still be sealed, which
	// is as long as a history of packets.
	window   = 1024
	maxIndex = 1<<48 - 1
)

// Seal protects a packet that was not sealed before. Its header is dst[:head],
// with the SSRC of the stream, and payload may be anywhere outside dst, or where
// it belongs: at dst[head:]. The result is in dst, its length is returned.
func (t *Stream) Seal(dst []byte, head int, payload []byte) (int, error) {
	index, ok := t.index(binary.BigEndian.Uint16(dst[2:]))
	if !ok || t.has(index) {
		return 0, ErrNonce
	}
	n, err := t.put(dst, head, payload, index)
	if err == nil {
		t.note(index)
	}
	return n, err
}

// Again protects a packet once more that was sealed before, byte for byte the
// same. To be sure of that is up to the caller.
func (t *Stream) Again(dst []byte, head int, payload []byte) (int, error) {
	index, ok := t.index(binary.BigEndian.Uint16(dst[2:]))
	if !ok || !t.has(index) {
		return 0, ErrNonce
	}
	return t.put(dst, head, payload, index)
}

func (t *Stream) put(dst []byte, head int, payload []byte, index uint64) (int, error) {
	if head+len(payload)+t.cipher.overhead() > len(dst) {
		return 0, ErrRoom
	}
	return len(t.cipher.seal(dst, head, payload, t.ssrc, index)), nil
}

// index is the index nearest to the newest one that ends with seq. It is false
// for what is too old to be known, or would end the life of the key.
func (t *Stream) index(seq uint16) (uint64, bool) {
	if !t.started {
		return uint64(seq), true
	}
	at := int64(t.high) + int64(int16(seq-uint16(t.high)))
	return uint64(at), at >= 0 && at <= maxIndex && at > int64(t.high)-window
}

func (t *Stream) has(index uint64) bool {
	return t.started && index <= t.high && t.sealed[index/64%(window/64)]&(1<<(index%64)) != 0
}

func (t *Stream) note(index uint64) {
	if t.started && index > t.high {
		// What the window leaves, and what was never sent.
		for i := range min(index-t.high, window) {
			t.sealed[(index-i)/64%(window/64)] &^= 1 << ((index - i) % 64)
		}
	}
	t.sealed[index/64%(window/64)] |= 1 << (index % 64)
	t.high, t.started = max(t.high, index), true
}
