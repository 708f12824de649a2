//go:build linux

package main

import (
	"encoding/binary"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/rtp"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// TestMain is also the forwarding process of the tests, which start themselves.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "forward" {
		main()
		return
	}
	os.Exit(m.Run())
}

func cases() map[string]Case {
	c := tight("tight", media.Video, 1200, 8, 2, 0)
	audio := tight("audio", media.Audio, 100, 4, 2, 0)
	wide := c
	wide.Streams = 2
	return map[string]Case{"tight": c, "audio": audio, "paced": c.every(10 * time.Millisecond), "two streams": wide}
}

func TestEveryPacketIsCounted(t *testing.T) {
	for name, c := range cases() {
		for _, v := range variants {
			t.Run(name+"/"+v, func(t *testing.T) {
				t.Parallel()
				s, err := connect(t.Context(), c, v, anyCore, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = s.Close() }()
				if err := s.deafen(t.Context()); err != nil {
					t.Fatal(err)
				}
				got, err := s.slice(t.Context(), 100*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				// Without a queue in the way nothing can be lost.
				if got.Packets == 0 || !c.paced() && got.Packets != got.Sent || got.User+got.System <= 0 {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

func TestEveryPacketIsChecked(t *testing.T) {
	for _, c := range checkCases() {
		c.Receivers = 2
		for _, v := range variants {
			t.Run(v, func(t *testing.T) {
				t.Parallel()
				got, err := check(t.Context(), c, v, anyCore, 300*time.Millisecond)
				if err != nil {
					t.Fatal(err)
				}
				if !got.good() {
					t.Errorf("%+v", got)
				}
			})
		}
	}
}

func TestSourceNeverRepeats(t *testing.T) {
	for _, kind := range []string{media.Audio, media.Video} {
		s := newSource(kind, 1, Shape{Size: 200, Burst: 4}, 0)
		checker := mediatest.NewChecker(kind)
		seen := map[string]bool{}
		var last rtp.Packet
		for i := range 3 * cycle {
			buf := make([]byte, media.MaxPacket)
			var p rtp.Packet
			if err := p.Unmarshal(buf[:s.put(buf, false)]); err != nil {
				t.Fatal(err)
			}
			if i < cycle {
				checker.Packet(p.SequenceNumber, p.Timestamp, p.Payload)
			}
			if seen[string(p.Payload)] {
				t.Fatalf("%s: packet %d is like one before", kind, i)
			}
			seen[string(p.Payload)] = true
			if i > 0 && (p.SequenceNumber != last.SequenceNumber+1 || p.Timestamp-last.Timestamp > 3600) {
				t.Fatalf("%s: packet %d does not follow: %v after %v", kind, i, p.Header, last.Header)
			}
			if kind == media.Video && i > 0 && i%4 == 0 && (picture(p)-picture(last))&0x7fff != 1 {
				t.Fatalf("packet %d does not begin the next picture", i)
			}
			last = p
		}
		if r := checker.Report(); r.Packets != cycle || r.Missing != 0 || len(r.Faults) > 0 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

func picture(p rtp.Packet) uint16 { return binary.BigEndian.Uint16(p.Payload[2:]) }

// What the floor seals is what the library opens, and the other way, beyond the
// wrap of the sequence numbers as well.
func TestFloorSealsSRTP(t *testing.T) {
	for _, p := range []piondtls.SRTPProtectionProfile{
		piondtls.SRTP_AEAD_AES_256_GCM, piondtls.SRTP_AEAD_AES_128_GCM, piondtls.SRTP_AES128_CM_HMAC_SHA1_80,
	} {
		secret := newSecret(p)
		k, err := secret.sealing()
		if err != nil {
			t.Fatal(err)
		}
		opens, err := secret.context()
		if err != nil {
			t.Fatal(err)
		}
		seals, err := secret.context()
		if err != nil {
			t.Fatal(err)
		}
		plain := append([]byte{0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, "some words"...)
		binary.BigEndian.PutUint32(plain[8:], secret.SSRC)
		for index := range uint32(70000) {
			binary.BigEndian.PutUint16(plain[2:], uint16(index))
			sealed := make([]byte, len(plain)+k.overhead())
			copy(sealed, plain[:rtpHeader])
			k.seal(sealed, plain[rtpHeader:], secret.SSRC, index)
			open, err := opens.DecryptRTP(nil, sealed, nil)
			if err != nil || string(open) != string(plain) {
				t.Fatalf("%v, packet %d: %q, %v", p, index, open, err)
			}
			sealed, err = seals.EncryptRTP(nil, plain, nil)
			if err == nil {
				err = k.open(sealed, secret.SSRC, index)
			}
			if err != nil || string(sealed[:len(plain)]) != string(plain) {
				t.Fatalf("%v, packet %d: %q, %v", p, index, sealed, err)
			}
		}
		sealed, err := seals.EncryptRTP(nil, plain, nil)
		if err != nil {
			t.Fatal(err)
		}
		sealed[len(sealed)-1] ^= 1
		if k.open(sealed, secret.SSRC, 70000) == nil {
			t.Errorf("%v: forged", p)
		}
	}
}

func TestDeafReceiverCountsRTPOnly(t *testing.T) {
	r, err := newReceiver(Floor, tight("", media.Video, 1200, 8, 1, 0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.deafen(); err != nil {
		t.Fatal(err)
	}
	to, err := net.DialUDP("udp4", nil, r.socket.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	heard := [][]byte{{0, 1}, {22, 254}, {0x80, 200}, {0x81, 192}, {0x8f, 223}, {0x80}}
	for _, p := range [][]byte{{0x80, 96}, {0x90, 111}, {0xbf, 191}, {0x80, 224}} {
		if _, err := to.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range heard {
		if _, err := to.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 16)
	for _, p := range heard[:5] {
		n, err := r.socket.Read(buf)
		if err != nil || string(buf[:n]) != string(p) {
			t.Fatalf("read %x, %v, want %x", buf[:n], err, p)
		}
	}
	if n, err := r.count(); err != nil || n != 5 { // a packet of one byte is nothing
		t.Errorf("%d counted, %v", n, err)
	}
}

func TestTimedNotesRTPOnly(t *testing.T) {
	from, err := newTimed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := newTimed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	if err := to.stamp(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 16)
	for _, p := range [][]byte{{0x80, 96}, {0x80, 200}, {0, 1}, {0x90, 111}} {
		if _, err := from.WriteToAddrPort(p, to.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.ReadFromAddrPort(buf); err != nil {
			t.Fatal(err)
		}
	}
	sent, _ := from.times()
	_, came := to.times()
	if len(sent) != 2 || len(came) != 2 {
		t.Fatalf("%d sent, %d came", len(sent), len(came))
	}
	for i := range sent {
		if d := came[i].Sub(sent[i]); d < 0 || d > time.Second {
			t.Errorf("packet %d took %v", i, d)
		}
	}
}

func TestLossIsVoid(t *testing.T) {
	for name, c := range map[string]struct {
		loss []float64
		void int
	}{
		"little": {[]float64{0, 0.001}, 0},
		"loss":   {[]float64{0, 0.002}, 1},
		"more":   {[]float64{-0.1, 0}, 1},
		"twice":  {[]float64{0.1, 0.1}, 2},
	} {
		r := Row{Variants: map[string]Variant{}}
		for _, loss := range c.loss {
			r.Rounds.Counted = append(r.Rounds.Counted, []Sample{{Nanoseconds: 100}, {Nanoseconds: 120, Loss: loss}, {Nanoseconds: 500}})
		}
		r.summarise()
		if len(r.Void) != c.void {
			t.Errorf("%s: %v", name, r.Void)
		}
	}
}

func TestRatiosAreOfRounds(t *testing.T) {
	r := Row{Variants: map[string]Variant{}}
	for _, ns := range [][3]float64{{100, 110, 500}, {200, 240, 900}, {100, 150, 600}} {
		r.Rounds.Counted = append(r.Rounds.Counted, []Sample{{Nanoseconds: ns[0]}, {Nanoseconds: ns[1]}, {Nanoseconds: ns[2]}})
	}
	r.summarise()
	if v := r.Variants[Talkd]; v.Ratio != (Quotient{1.2, 1.1, 1.5}) || v.Nanoseconds != 150 {
		t.Errorf("%+v", v)
	}
}

// Which rounds count is up to the floor alone, and of those that agree to the
// fastest.
func TestRoundsThatAgreeCount(t *testing.T) {
	for _, c := range []struct {
		floors []float64
		want   []int
	}{
		{[]float64{100, 105, 110}, []int{0, 1, 2}},
		{[]float64{100, 105, 116}, nil},
		{[]float64{100, 105}, nil},
		{[]float64{130, 100, 131, 90, 132}, []int{0, 2, 4}},
		{[]float64{150, 108, 104, 100}, []int{1, 2, 3}},
		{[]float64{112, 108, 104, 100}, []int{1, 2, 3}},
	} {
		if got := agreeing(c.floors, 3); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.floors, got, c.want)
		}
	}
	few, many := contender{variant: Floor}, contender{variant: Floor}
	r := Rounds{Counted: [][]Sample{{{Nanoseconds: 1}, {Nanoseconds: 5}, {Nanoseconds: 2}}, {{Nanoseconds: 3}, {Nanoseconds: 5}, {Nanoseconds: 4}}}}
	if got := floors([]contender{few, {variant: Talkd}, many}, r.Counted); !slices.Equal(got, []float64{3, 7}) {
		t.Errorf("floors %v", got)
	}
	r = r.only([]int{1})
	if got := r.of(0); len(got) != 1 || got[0].Nanoseconds != 3 || len(r.Left) != 1 || r.String() != "1 of 2 rounds left out" {
		t.Errorf("%+v", r)
	}
}

func TestMessagesAreOfOneSize(t *testing.T) {
	for _, c := range []struct{ sizes, runs []int }{
		{[]int{100}, []int{1}},
		{[]int{100, 100, 100}, []int{3}},
		{[]int{100, 100, 99, 99, 100}, []int{3, 1, 1}},
		{[]int{99, 100}, []int{1, 1}},
	} {
		var packets [][]byte
		for _, n := range c.sizes {
			packets = append(packets, make([]byte, n))
		}
		var runs []int
		for len(packets) > 0 {
			n := joined(packets)
			runs, packets = append(runs, n), packets[n:]
		}
		if !slices.Equal(runs, c.runs) {
			t.Errorf("%v: %v", c.sizes, runs)
		}
	}
}
