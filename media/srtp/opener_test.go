package srtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	piondtls "github.com/pion/dtls/v3"
	pionsrtp "github.com/pion/srtp/v3"
)

// opening returns an Opener and a context of the library that seals for it.
func opening(t testing.TB, r *rand.Rand, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) (*Opener, *pionsrtp.Context) {
	t.Helper()
	p, err := profileOf(id)
	if err != nil {
		t.Fatal(err)
	}
	key, salt := noise(r, p.key), noise(r, p.salt)
	o, err := NewOpener(id, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	seals, err := pionsrtp.CreateContext(key, salt, peer)
	if err != nil {
		t.Fatal(err)
	}
	return o, seals
}

func sealed(t testing.TB, c *pionsrtp.Context, packet []byte) []byte {
	t.Helper()
	b, err := c.EncryptRTP(nil, packet, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the library seals is opened, whatever its form, over several rounds of
// the sequence numbers, with gaps and reordering; nothing is opened twice, and
// nothing that is forged.
func TestOpensWhatTheLibrarySeals(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		r := rand.New(rand.NewPCG(1, uint64(id)))
		o, seals := opening(t, r, id, peer)
		room := make([]byte, 2000)
		next := uint64(1<<16 - 300)
		first := true
		for next < 4<<16 {
			order := []uint64{next, next + 1}
			if r.IntN(10) == 0 && !first {
				order = []uint64{next + 1, next}
			}
			first = false
			if next += 2; r.IntN(20) == 0 {
				next += r.Uint64N(30000)
			}
			for _, index := range order {
				want, _ := plain(r, 9, uint16(index), r.IntN(3), r.IntN(1300))
				b := sealed(t, seals, want)
				forged := bytes.Clone(b)
				forged[r.IntN(len(b))] ^= 1 << r.IntN(8)
				if _, _, err := o.Open(room, forged); !errors.Is(err, ErrPacket) {
					t.Fatalf("a forged packet: %v", err)
				}
				n, at, err := o.Open(room, b)
				if err != nil || !bytes.Equal(room[:n], want) || at != index {
					t.Fatalf("packet %d is opened as %d: %v", index, at, err)
				}
				if _, _, err := o.Open(room, b); !errors.Is(err, ErrPacket) {
					t.Fatalf("packet %d once more: %v", index, err)
				}
			}
		}
	})
}

// An SSRC becomes known by an authentic packet only, and there is a bound.
func TestOpenerBounds(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		r := rand.New(rand.NewPCG(2, uint64(id)))
		o, seals := opening(t, r, id, peer)
		room := make([]byte, MaxOverhead+200)
		for ssrc := range uint32(1000) {
			b, _ := plain(r, ssrc, 1, 0, 100)
			if _, _, err := o.Open(room, append(b, noise(r, 20)...)); !errors.Is(err, ErrPacket) {
				t.Fatal(err)
			}
		}
		for ssrc := range uint32(2 * maxSSRCs) {
			b, _ := plain(r, ssrc, 1, 0, 100)
			_, _, err := o.Open(room, sealed(t, seals, b))
			if full := ssrc >= maxSSRCs; full != errors.Is(err, ErrStreams) || !full && err != nil {
				t.Fatalf("SSRC %d: %v", ssrc, err)
			}
		}
		b, _ := plain(r, 1, 2, 0, 300)
		if _, _, err := o.Open(room, sealed(t, seals, b)); !errors.Is(err, ErrRoom) {
			t.Errorf("no room: %v", err)
		}
	})
}

// report is a compound packet: a sender report and some bytes.
func report(r *rand.Rand, ssrc uint32, more int) []byte {
	b := []byte{0x80, 200, 0, byte(6 + more)}
	b = binary.BigEndian.AppendUint32(b, ssrc)
	return append(b, noise(r, 20+4*more)...)
}

func TestOpensRTCP(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		r := rand.New(rand.NewPCG(3, uint64(id)))
		o, seals := opening(t, r, id, peer)
		room := make([]byte, 1500)
		var before []byte
		for range 500 {
			want := report(r, r.Uint32N(3), r.IntN(40))
			b, err := seals.EncryptRTCP(nil, want, nil)
			if err != nil {
				t.Fatal(err)
			}
			forged := bytes.Clone(b)
			forged[r.IntN(len(b))] ^= 1 << r.IntN(8)
			if _, err := o.OpenRTCP(room, forged); !errors.Is(err, ErrPacket) {
				t.Fatalf("a forged packet: %v", err)
			}
			n, err := o.OpenRTCP(room, b)
			if err != nil || !bytes.Equal(room[:n], want) {
				t.Fatalf("%d bytes: %v", len(b), err)
			}
			for _, old := range [][]byte{b, before} {
				if _, err := o.OpenRTCP(room, old); !errors.Is(err, ErrPacket) {
					t.Fatalf("an old packet: %v", err)
				}
			}
			before = b
		}
		for ssrc := range uint32(2 * maxSSRCs) {
			b, err := seals.EncryptRTCP(nil, report(r, ssrc, 0), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := o.OpenRTCP(room, b); (ssrc >= maxSSRCs) != errors.Is(err, ErrStreams) {
				t.Fatalf("SSRC %d: %v", ssrc, err)
			}
		}
	})
}

func TestOpeningAllocates(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		for _, size := range []int{100, short, 1200} {
			if n := testing.AllocsPerRun(1000, opens(t, id, peer, size)); n > allocations(id, size) {
				t.Errorf("%v allocations for %d bytes", n, size)
			}
		}
	})
}

// opens opens one packet after the other.
func opens(t testing.TB, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile, size int) func() {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 4))
	o, seals := opening(t, r, id, peer)
	packets := make([][]byte, 4096)
	for i := range packets {
		b, _ := plain(r, 1, uint16(i), 0, size)
		packets[i] = sealed(t, seals, b)
	}
	room := make([]byte, 1500)
	at := 0
	return func() {
		if at == len(packets) {
			at = 0
			clear(o.streams)
		}
		if _, _, err := o.Open(room, packets[at]); err != nil {
			t.Fatal(err)
		}
		at++
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, p := range profiles {
		for _, size := range []int{1200, 100} {
			b.Run(fmt.Sprintf("%s/%d", p.name, size), func(b *testing.B) {
				open := opens(b, p.id, p.peer, size)
				b.ReportAllocs()
				for b.Loop() {
					open()
				}
			})
		}
	}
}

// Whatever comes is refused, or is what the other side sealed, and disturbs
// nothing.
func FuzzOpen(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, p := range profiles {
		_, seals := opening(f, rand.New(rand.NewPCG(6, 6)), p.id, p.peer)
		b, _ := plain(r, 1, 40000, 2, 100)
		f.Add(sealed(f, seals, b))
		report, err := seals.EncryptRTCP(nil, report(r, 1, 3), nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(report)
	}
	f.Add([]byte{0x9f, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range profiles {
			o, seals := opening(t, rand.New(rand.NewPCG(6, 6)), p.id, p.peer)
			room := make([]byte, 1500)
			_, _, err := o.Open(room, b)
			_, errRTCP := o.OpenRTCP(room, b)
			if err == nil && errRTCP == nil {
				t.Fatal("RTP and RTCP at once")
			}
			want, _ := plain(rand.New(rand.NewPCG(7, 7)), 1, 40001, 0, 50)
			n, _, err := o.Open(room, sealed(t, seals, want))
			if err != nil || !bytes.Equal(room[:n], want) {
				t.Fatalf("the next packet: %v", err)
			}
		}
	})
}
