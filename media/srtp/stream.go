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
	ssrc   uint32
	cipher packetCipher
	window // of what was sealed
}

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

// Again protects a packet byte for byte as it was sealed before, if it was. That
// it is the same is up to the caller. A receiver also misses, and asks for, what
// was never sealed here.
func (t *Stream) Again(dst []byte, head int, payload []byte) (int, error) {
	index, ok := t.index(binary.BigEndian.Uint16(dst[2:]))
	if !ok {
		return 0, ErrNonce
	}
	n, err := t.put(dst, head, payload, index)
	if err == nil && !t.has(index) {
		t.note(index)
	}
	return n, err
}

func (t *Stream) put(dst []byte, head int, payload []byte, index uint64) (int, error) {
	if head+len(payload)+t.cipher.overhead() > len(dst) {
		return 0, ErrRoom
	}
	return len(t.cipher.seal(dst, head, payload, t.ssrc, index)), nil
}
