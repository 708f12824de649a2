package relay

import "testing"

// BenchmarkSealOpen is the cipher and the framing of one packet of 1200 bytes.
func BenchmarkSealOpen(b *testing.B) {
	aead := testAEAD(b)
	var nonce [nonceLen]byte
	plain := make([]byte, 1200)
	frame, opened := make([]byte, 0, maxFrame), make([]byte, 0, maxFrame)
	h := header{kind: kindRTP, epoch: 1, stream: 1}
	b.SetBytes(1200)
	b.ReportAllocs()
	for b.Loop() {
		h.counter++
		frame = seal(frame[:0], aead, &nonce, h, plain)
		parsed, ok := parseHeader(frame)
		if !ok {
			b.Fatal("not a frame")
		}
		if _, err := open(opened, aead, &nonce, parsed, frame); err != nil {
			b.Fatal(err)
		}
	}
}
