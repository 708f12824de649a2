package relay

import (
	"net"
	"testing"

	"github.com/talkd/talkd/media"
)

// nowhere is a socket that takes everything.
type nowhere struct{ brokenSocket }

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

// benchWrite writes batches of 8 packets of 1200 bytes; one operation is one
// packet.
func benchWrite(b *testing.B, s socket, to net.Addr) {
	m, _, out := fuzzManager(b)
	m.socket = s
	out.out.flow.to, _ = to.(*net.UDPAddr)
	var pool media.Pool
	batch := make([]*media.Packet, 8)
	for i := range batch {
		batch[i] = testPacket(&pool, uint16(i), 1200)
	}
	b.SetBytes(1200)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += len(batch) {
		out.out.Write(batch)
	}
}

func BenchmarkWrite(b *testing.B) { benchWrite(b, &nowhere{}, nil) }

// BenchmarkWriteUDP sends over loopback to a socket that nobody reads.
func BenchmarkWriteUDP(b *testing.B) {
	s, err := listen(b.Context(), "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.close() }()
	benchWrite(b, s, s.addr())
}

// BenchmarkReceive takes packets of 1200 bytes up to Source.Read.
func BenchmarkReceive(b *testing.B) {
	m, in, _ := fuzzManager(b)
	var o, sealer opener
	var pool media.Pool
	batch := make([]*media.Packet, 64)
	frames := make([][]byte, 8)
	b.SetBytes(1200)
	b.ReportAllocs()
	var seq uint64
	for i := 0; i < b.N; i += len(frames) {
		b.StopTimer()
		for k := range frames {
			seq++
			p := testPacket(&pool, uint16(seq), 1200)
			frames[k] = seal(frames[k][:0], in.link.in, &sealer.nonce,
				header{kind: kindRTP, epoch: in.link.inEpoch, stream: in.stream, counter: seq}, p.Raw())
			p.Release()
		}
		b.StartTimer()
		for _, f := range frames {
			m.receive(&o, f)
		}
		n, err := in.in.Read(batch)
		if n != len(frames) || err != nil {
			b.Fatal(n, err)
		}
		for _, p := range batch[:n] {
			p.Release()
		}
	}
}
