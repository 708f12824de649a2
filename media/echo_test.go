package media

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	pionsrtp "github.com/pion/srtp/v3"

	"github.com/talkd/talkd/media/srtp"
)

func marshal(t testing.TB, packets ...rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal(packets)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	well = &rtcp.ReceiverReport{SSRC: 1, Reports: []rtcp.ReceptionReport{{SSRC: 7}}}
	nack = &rtcp.TransportLayerNack{SenderSSRC: 1, MediaSSRC: 7, Nacks: []rtcp.NackPair{{PacketID: 40, LostPackets: 0b101}}}
	pli  = &rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 8}
	fir  = &rtcp.FullIntraRequest{SenderSSRC: 1, FIR: []rtcp.FIREntry{{SSRC: 9}}}
)

// subscriberKeys are both ends of what a subscriber reports.
func subscriberKeys(t *testing.T) (seal func(...rtcp.Packet) []byte, opener *srtp.Opener) {
	t.Helper()
	key, salt := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 12)
	client, err := pionsrtp.CreateContext(key, salt, pionsrtp.ProtectionProfileAeadAes256Gcm)
	if err != nil {
		t.Fatal(err)
	}
	opener, err = srtp.NewOpener(piondtls.SRTP_AEAD_AES_256_GCM, key, salt)
	if err != nil {
		t.Fatal(err)
	}
	return func(packets ...rtcp.Packet) []byte {
		b, err := client.EncryptRTCP(nil, marshal(t, packets...), nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, opener
}

// What a subscriber asks for comes through, once it is known who it is; what says
// that all is well, and what is forged, does not. Who asks faster than it is
// answered keeps nobody waiting.
func TestEcho(t *testing.T) {
	seal, opener := subscriberKeys(t)
	dropped := 0
	e := &echo{asked: make(chan request, maxRequests), dropped: func(n int) { dropped += n }, end: func() { t.Error("ended") }, recovered: func(v any) { t.Error(v) }}
	want := func(when string, want ...request) {
		t.Helper()
		var got []request
		for len(e.asked) > 0 {
			got = append(got, <-e.asked)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(request{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	e.Receive([][]byte{seal(nack)})
	want("before the connection is established")
	e.start(opener)
	e.Receive([][]byte{seal(well), seal(well, nack), seal(pli), seal(fir)})
	want("requests", request{ssrc: 7, lost: []uint16{40, 41, 43}}, request{ssrc: 8, key: true}, request{ssrc: 9, key: true})
	forged := seal(pli)
	forged[len(forged)-1] ^= 1
	e.Receive([][]byte{forged, forged[:5], nil, {0x80, 200}})
	want("forged")
	for range 2 * maxRequests {
		e.Receive([][]byte{seal(nack)})
	}
	if n := len(e.asked); n != maxRequests || dropped != 3*maxRequests {
		t.Errorf("%d requests wait, %d packets are told as dropped", n, dropped)
	}
}

// A client that says what it wants under ever more names is not unheard from some
// moment on: its connection ends, as a publisher's does.
func TestEchoOfTooManyNames(t *testing.T) {
	seal, opener := subscriberKeys(t)
	ended := false
	e := &echo{asked: make(chan request, 1), dropped: func(int) {}, end: func() { ended = true }, recovered: func(v any) { t.Error(v) }}
	e.start(opener)
	for name := uint32(1); name < 1000 && !ended; name++ {
		e.Receive([][]byte{seal(&rtcp.PictureLossIndication{SenderSSRC: name, MediaSSRC: 8})})
		select {
		case <-e.asked:
		default:
			if !ended {
				t.Fatalf("name %d is not heard", name)
			}
		}
	}
	if !ended {
		t.Error("it has any number of names")
	}
}

// FuzzEcho: what is not looked at closely asks for nothing.
func FuzzEcho(f *testing.F) {
	for _, p := range [][]rtcp.Packet{{well}, {well, nack}, {pli}, {fir}, {well, &rtcp.Goodbye{Sources: []uint32{7}}, pli}} {
		f.Add(marshal(f, p...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, err := rtcp.Unmarshal(b)
		if err != nil {
			asks(b)
			return
		}
		if all := requests(packets); len(all) > 0 && !asks(b) {
			t.Errorf("%x asks for %v", b, all)
		}
	})
}
