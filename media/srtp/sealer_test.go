package srtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	pionsrtp "github.com/pion/srtp/v3"
)

var profiles = []struct {
	name string
	id   piondtls.SRTPProtectionProfile
	peer pionsrtp.ProtectionProfile
}{
	{"aes-256-gcm", piondtls.SRTP_AEAD_AES_256_GCM, pionsrtp.ProtectionProfileAeadAes256Gcm},
	{"aes-128-gcm", piondtls.SRTP_AEAD_AES_128_GCM, pionsrtp.ProtectionProfileAeadAes128Gcm},
	{"aes-128-cm-sha1", piondtls.SRTP_AES128_CM_HMAC_SHA1_80, pionsrtp.ProtectionProfileAes128CmHmacSha1_80},
}

func each(t *testing.T, f func(*testing.T, piondtls.SRTPProtectionProfile, pionsrtp.ProtectionProfile)) {
	for _, p := range profiles {
		t.Run(p.name, func(t *testing.T) { f(t, p.id, p.peer) })
	}
}

// pair returns a Sealer and contexts of the library with the same keys, one that
// seals and one that opens.
func pair(t testing.TB, r *rand.Rand, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) (*Sealer, *pionsrtp.Context, *pionsrtp.Context) {
	t.Helper()
	p, err := profileOf(id)
	if err != nil {
		t.Fatal(err)
	}
	key, salt := noise(r, p.key), noise(r, p.salt)
	s, err := NewSealer(id, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	var contexts [2]*pionsrtp.Context
	for i := range contexts {
		if contexts[i], err = pionsrtp.CreateContext(key, salt, peer, pionsrtp.SRTPReplayProtection(2048)); err != nil {
			t.Fatal(err)
		}
	}
	return s, contexts[0], contexts[1]
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// plain is a packet with as many words of extension, and the length of its header.
func plain(r *rand.Rand, ssrc uint32, seq uint16, words, payload int) (packet []byte, head int) {
	b := []byte{0x80, 96}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, r.Uint32())
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if words > 0 {
		b[0] |= 0x10
		b = append(b, 0xbe, 0xde, 0, byte(words))
		for id := range words {
			b = append(append(b, byte(id+1)<<4|2), noise(r, 3)...)
		}
	}
	return append(b, noise(r, payload)...), len(b)
}

// The library and a Stream make the same of a packet, whatever its form, and
// over several rounds of the sequence numbers, with gaps and reordering.
func TestSealsAsTheLibrary(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		r := rand.New(rand.NewPCG(1, uint64(id)))
		s, seals, opens := pair(t, r, id, peer)
		const ssrc = 0xfedcba98
		stream, err := s.Stream(ssrc)
		if err != nil {
			t.Fatal(err)
		}
		room := make([]byte, 2000)
		next := uint64(1<<16 - 300)
		for next < 4<<16 {
			order := []uint64{next, next + 1}
			if r.IntN(10) == 0 {
				order = []uint64{next + 1, next}
			}
			if next += 2; r.IntN(20) == 0 {
				next += r.Uint64N(30000)
			}
			for _, index := range order {
				b, head := plain(r, ssrc, uint16(index), r.IntN(3), r.IntN(1300))
				want, err := seals.EncryptRTP(nil, b, nil)
				if err != nil {
					t.Fatal(err)
				}
				payload := b[head:]
				copy(room, b[:head])
				if r.IntN(2) == 0 {
					copy(room[head:], payload)
					payload = room[head:len(b)]
				}
				n, err := stream.Seal(room, head, payload)
				if err != nil || !bytes.Equal(room[:n], want) {
					t.Fatalf("packet %d of %d bytes: %v", index, len(b), err)
				}
				if got, err := opens.DecryptRTP(nil, room[:n], nil); err != nil || !bytes.Equal(got, b) {
					t.Fatalf("packet %d cannot be opened: %v", index, err)
				}
			}
		}
		if stream.high>>16 < 3 {
			t.Error("the sequence numbers did not roll over")
		}
	})
}

// A packet may be sealed again, and is the same then, or when it is asked for
// though it never was; another one under its number is refused, and so is what
// the stream does not know to be unused.
func TestNonceIsUsedOnce(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		r := rand.New(rand.NewPCG(2, uint64(id)))
		s, _, _ := pair(t, r, id, peer)
		stream, err := s.Stream(7)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stream(7); !errors.Is(err, ErrTaken) {
			t.Errorf("a second stream for an SSRC: %v", err)
		}
		sent := map[uint64][]byte{} // sealed, by index
		packets := map[uint64][]byte{}
		high := uint64(65000)
		room := make([]byte, 200)
		for range 30000 {
			index := high + 1
			switch r.IntN(20) {
			case 0:
				index += r.Uint64N(3000)
			case 1, 2, 3:
				index -= min(r.Uint64N(1500), high)
			}
			again := r.IntN(3) == 0
			b := packets[index]
			if b == nil || !again {
				b, _ = plain(r, 7, uint16(index), 0, 50)
			}
			copy(room, b[:12])
			var n int
			if again {
				n, err = stream.Again(room, 12, b[12:])
			} else {
				n, err = stream.Seal(room, 12, b[12:])
			}
			was, known := sent[index]
			near := len(sent) == 0 || index+reach > high
			if want := near && (again || !known); want != (err == nil) {
				t.Fatalf("packet %d, the newest is %d, sealed before: %v, again: %v: %v", index, high, known, again, err)
			}
			if err != nil {
				continue
			}
			if known && !bytes.Equal(was, room[:n]) {
				t.Fatalf("packet %d differs the second time", index)
			}
			sent[index], packets[index] = bytes.Clone(room[:n]), b
			high = max(high, index)
		}
	})
}

func TestStreamBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	s, _, _ := pair(t, r, profiles[0].id, profiles[0].peer)
	stream, err := s.Stream(1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(seq uint16) error {
		room := make([]byte, 60)
		b, head := plain(r, 1, seq, 0, 10)
		copy(room, b[:head])
		_, err := stream.Seal(room, head, b[head:])
		return err
	}
	if err := at(3); err != nil {
		t.Fatal(err)
	}
	if err := at(65535); !errors.Is(err, ErrNonce) {
		t.Errorf("a packet from before the first round: %v", err)
	}
	stream.high = maxIndex - 1
	if err := at(65535); err != nil {
		t.Errorf("the last packet of a key: %v", err)
	}
	if err := at(0); !errors.Is(err, ErrNonce) {
		t.Errorf("one after the last: %v", err)
	}
	if _, err := stream.Again(make([]byte, 37), 12, make([]byte, 10)); !errors.Is(err, ErrNonce) && !errors.Is(err, ErrRoom) {
		t.Errorf("no room: %v", err)
	}
	if _, err := NewSealer(piondtls.SRTP_AES128_CM_HMAC_SHA1_32, make([]byte, 16), make([]byte, 14)); !errors.Is(err, ErrProfile) {
		t.Errorf("a profile that is not known: %v", err)
	}
	if _, err := NewSealer(profiles[0].id, make([]byte, 16), make([]byte, 12)); !errors.Is(err, ErrProfile) {
		t.Errorf("a key that is too short: %v", err)
	}
}

func TestSealingAllocates(t *testing.T) {
	each(t, func(t *testing.T, id piondtls.SRTPProtectionProfile, peer pionsrtp.ProtectionProfile) {
		s, _, _ := pair(t, rand.New(rand.NewPCG(4, 4)), id, peer)
		for _, size := range []int{100, short, 1200} {
			stream, err := s.Stream(uint32(size))
			if err != nil {
				t.Fatal(err)
			}
			if n := testing.AllocsPerRun(1000, sealing(t, stream, size)); n > allocations(id, size) {
				t.Errorf("%v allocations for %d bytes", n, size)
			}
		}
	})
}

// allocations are those of a packet at most.
func allocations(id piondtls.SRTPProtectionProfile, size int) float64 {
	if id == piondtls.SRTP_AES128_CM_HMAC_SHA1_80 && size > short {
		return 1
	}
	return 0
}

// sealing seals one packet after the other.
func sealing(t testing.TB, stream *Stream, size int) func() {
	payload := make([]byte, size)
	room := make([]byte, 1500)
	room[0], room[1] = 0x80, 96
	seq := uint16(0)
	return func() {
		binary.BigEndian.PutUint16(room[2:], seq)
		seq++
		if _, err := stream.Seal(room, 12, payload); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, p := range profiles {
		for _, size := range []int{1200, 100} {
			b.Run(fmt.Sprintf("%s/%d/ours", p.name, size), func(b *testing.B) {
				s, _, _ := pair(b, rand.New(rand.NewPCG(5, 5)), p.id, p.peer)
				stream, err := s.Stream(1)
				if err != nil {
					b.Fatal(err)
				}
				seal := sealing(b, stream, size)
				b.ReportAllocs()
				for b.Loop() {
					seal()
				}
			})
			b.Run(fmt.Sprintf("%s/%d/library", p.name, size), func(b *testing.B) {
				_, library, _ := pair(b, rand.New(rand.NewPCG(5, 5)), p.id, p.peer)
				packet, dst := make([]byte, 12+size), make([]byte, 0, 1500)
				packet[0], packet[1] = 0x80, 96
				var header rtp.Header
				seq := uint16(0)
				b.ReportAllocs()
				for b.Loop() {
					binary.BigEndian.PutUint16(packet[2:], seq)
					seq++
					if _, err := library.EncryptRTP(dst, packet, &header); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// Any header that a packet may have, and any order, are sealed as the library
// does it, or refused.
func FuzzSeal(f *testing.F) {
	f.Add(uint8(0), uint16(65535), uint16(0), []byte{1, 2, 3})
	f.Add(uint8(5), uint16(10), uint16(9), []byte{})
	f.Add(uint8(2), uint16(40000), uint16(8000), bytes.Repeat([]byte{9}, 1200))
	f.Fuzz(func(t *testing.T, form uint8, first, second uint16, payload []byte) {
		if len(payload) > 1400 {
			return
		}
		p := profiles[int(form)%len(profiles)]
		r := rand.New(rand.NewPCG(6, uint64(form)))
		s, seals, _ := pair(t, r, p.id, p.peer)
		stream, err := s.Stream(1)
		if err != nil {
			t.Fatal(err)
		}
		room := make([]byte, 1600)
		for _, seq := range []uint16{first, second} {
			b, head := plain(r, 1, seq, int(form)/16, 0)
			copy(room, b)
			n, err := stream.Seal(room, head, payload)
			if err != nil {
				if !errors.Is(err, ErrNonce) || seq == first && second != first {
					t.Fatal(err)
				}
				continue
			}
			want, err := seals.EncryptRTP(nil, append(b, payload...), nil)
			if err != nil || !bytes.Equal(room[:n], want) {
				t.Fatalf("packet %d after %d differs: %v", second, first, err)
			}
		}
	})
}
