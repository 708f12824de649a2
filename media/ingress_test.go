package media

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/rtcp"
	pionsrtp "github.com/pion/srtp/v3"

	"github.com/talkd/talkd/media/srtp"
)

// sender is a client that sends to an ingress, whose connection is established
// unless it is early.
type sender struct {
	*ingress
	t      testing.TB
	keys   *pionsrtp.Context
	opener *srtp.Opener
	ended  int
	panics []any
}

func send(t testing.TB, sections ...*section) *sender {
	t.Helper()
	s := early(t, sections...)
	s.start()
	return s
}

func early(t testing.TB, sections ...*section) *sender {
	t.Helper()
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &sender{t: t, ingress: newIngress(&offer{sections: sections}, new(Pool), m)}
	s.end, s.recovered = func() { s.ended++ }, func(v any) { s.panics = append(s.panics, v) }
	key, salt := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 12)
	if s.keys, err = pionsrtp.CreateContext(key, salt, pionsrtp.ProtectionProfileAeadAes256Gcm); err != nil {
		t.Fatal(err)
	}
	if s.opener, err = srtp.NewOpener(piondtls.SRTP_AEAD_AES_256_GCM, key, salt); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sender) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.startLocked(s.opener)
}

func camera() *section {
	return &section{
		kind: Video, format: usual(Video), sends: true, payload: 120, rtx: 124, ssrcs: []flow{{ssrc: 10, rtx: 11}},
		ext: map[uint8]string{3: uriTransportCC, 4: uriVideoOrientation, 5: uriRID, 6: uriRepairedRID},
	}
}

func microphone() *section {
	return &section{kind: Audio, format: usual(Audio), sends: true, payload: 109, ssrcs: []flow{{ssrc: 20}}, ext: map[uint8]string{3: uriTransportCC, 1: uriAudioLevel}}
}

// packet is a packet of RTP; extensions are ids and texts by turns.
func packet(payload uint8, ssrc uint32, seq uint16, text string, extensions ...any) []byte {
	b := []byte{0x80, payload}
	b = binary.BigEndian.AppendUint16(b, seq)
	b = binary.BigEndian.AppendUint32(b, uint32(seq)*3000)
	b = binary.BigEndian.AppendUint32(b, ssrc)
	if len(extensions) > 0 {
		b[0] |= 0x10
		var x []byte
		for i := 0; i < len(extensions); i += 2 {
			data := extensions[i+1].(string)
			x = append(append(x, byte(extensions[i].(int)<<4|(len(data)-1))), data...)
		}
		for len(x)%4 != 0 {
			x = append(x, 0)
		}
		b = append(append(b, 0xbe, 0xde, 0, byte(len(x)/4)), x...)
	}
	return append(b, text...)
}

func (s *sender) seal(packets ...[]byte) [][]byte {
	s.t.Helper()
	out := make([][]byte, len(packets))
	for i, p := range packets {
		var err error
		if isRTCP(p) {
			out[i], err = s.keys.EncryptRTCP(nil, p, nil)
		} else {
			out[i], err = s.keys.EncryptRTP(nil, p, nil)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return out
}

func (s *sender) send(packets ...[]byte) {
	s.t.Helper()
	s.Receive(s.seal(packets...))
}

// next is one batch of a layer, nil when there is none.
func (s *sender) next(inlet int) []*Packet {
	source := s.inlets[inlet].source
	source.mu.Lock()
	none := len(source.queue) == 0
	source.mu.Unlock()
	if none {
		return nil
	}
	batch := make([]*Packet, 600)
	n, err := source.Read(batch)
	if err != nil {
		s.t.Fatal(err)
	}
	return batch[:n]
}

func (s *sender) want(inlet int, want ...string) {
	s.t.Helper()
	var got []string
	for _, p := range s.next(inlet) {
		got = append(got, string(p.Payload()))
		p.Release()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Error(diff)
	}
}

// What came together reaches each layer as one batch; what is no packet of a
// layer reaches none.
func TestBurstsStayWhole(t *testing.T) {
	s := send(t, microphone(), camera())
	all := s.seal(
		packet(120, 10, 1, "v1"), packet(120, 10, 2, "v2"), packet(109, 20, 1, "a1"),
		packet(96, 10, 3, "another payload type"), packet(109, 99, 1, "another SSRC"),
		packet(120, 10, 4, "v4"), packet(109, 20, 2, "a2"),
	)
	forged := bytes.Clone(all[0])
	forged[14] ^= 1
	s.Receive(slices.Concat([][]byte{forged, {}, {0x80}, all[0][:14], {0x80, 200, 0, 0}}, all, all[:3]))
	s.want(0, "a1", "a2")
	s.want(1, "v1", "v2", "v4")
	if s.ended != 0 || len(s.panics) != 0 {
		t.Errorf("ended %d times, panics: %v", s.ended, s.panics)
	}
}

// A packet is in the cluster's form whichever way it came, and each layer knows
// what is missing of it.
func TestRetransmissionsAreUnwrapped(t *testing.T) {
	s := send(t, camera())
	a := newAsker(func([]rtcp.Packet) error { return nil })
	s.inlets[0].source.asked = a.add(origin{}, &s.inlets[0].ssrc, &s.metrics.repairs)
	s.send(packet(120, 10, 65535, "first"), packet(120, 10, 1, "third", 4, "\x01"))
	s.want(0, "first", "third")
	if !a.layers[origin{}].stream.Missing() {
		t.Error("nothing is missing")
	}
	padding := packet(124, 11, 700, "\x00\x00\x00\x04")
	padding[0] |= 0x20
	s.send(padding, packet(124, 11, 701, "x"), packet(120, 11, 702, "\x00\x00of the wrong type"),
		packet(124, 11, 703, "\x00\x00second", 3, "\x00\x07", 4, "\x02"))
	batch := s.next(0)
	if len(batch) != 1 {
		t.Fatalf("%d packets", len(batch))
	}
	p := batch[0]
	if p.Sequence != 0 || string(p.Payload()) != "second" || p.PayloadType() != PayloadVP8 || p.SSRC() != 10 || string(p.Extension(ExtVideoOrientation)) != "\x02" {
		t.Errorf("not the original: %x", p.Raw())
	}
	if a.layers[origin{}].stream.Missing() {
		t.Error("the packet is still missing")
	}
	q := new(Pool).Get()
	if err := q.Parse(copy(q.Buffer(), p.Raw())); err != nil || string(q.Payload()) != "second" {
		t.Error("what goes to other nodes is not the packet:", err)
	}
}

// Layers that have names are known by what their packets say; the first stream
// of a name counts.
func TestLayersAreKnownByName(t *testing.T) {
	c := camera()
	c.ssrcs, c.rids = nil, []string{"l", "h"}
	s := send(t, c)
	s.send(packet(120, 30, 1, "whose?"), packet(124, 31, 1, "\x00\x01of a layer that has not come", 6, "h"))
	s.want(0)
	s.send(packet(120, 30, 2, "low", 5, "l"), packet(120, 40, 2, "high", 5, "h"), packet(120, 50, 2, "another", 5, "x"))
	s.want(0, "low")
	s.want(1, "high")
	s.send(packet(120, 30, 3, "low again"), packet(120, 60, 1, "not the first", 5, "l"), packet(109, 70, 1, "not of video", 5, "h"),
		packet(124, 41, 1, "\x00\x01high repaired", 6, "h"), packet(124, 41, 2, "\x00\x03and once more"))
	s.want(0, "low again")
	s.want(1, "high repaired", "and once more")
	if got := s.videoSSRCs(); !slices.Equal(got, []uint32{30, 40}) {
		t.Errorf("the layers are %v", got)
	}
}

// What comes before the connection is established waits for it, but not without
// bound, and is not taken when the connection ends instead.
func TestEarlyPacketsWait(t *testing.T) {
	s := early(t, microphone())
	s.send(packet(109, 20, 1, "one"), packet(109, 20, 2, "two"))
	s.want(0)
	s.start()
	s.want(0, "one", "two")
	s.send(packet(109, 20, 3, "three"))
	s.want(0, "three")

	s = early(t, microphone())
	for seq := range uint16(2 * maxHeld) {
		s.send(packet(109, 20, seq, "x"))
	}
	s.Receive([][]byte{make([]byte, 2000)})
	s.start()
	if n := len(s.next(0)); n != maxHeld {
		t.Errorf("%d packets waited", n)
	}

	s = early(t, microphone())
	s.send(packet(109, 20, 1, "one"))
	s.close()
	s.send(packet(109, 20, 2, "two"))
	if err := s.open(); err != nil || s.ingress.opener != nil {
		t.Error("opened after the end:", err)
	}
	if _, err := s.inlets[0].source.Read(make([]*Packet, 1)); err == nil {
		t.Error("the source goes on")
	}
}

func TestWithoutKeysThereIsNoIngress(t *testing.T) {
	if err := early(t, microphone()).open(); err == nil {
		t.Error("opened without keys")
	}
}

// A layer that does not read costs a bounded number of packets.
func TestSourceIsBounded(t *testing.T) {
	s := send(t, microphone())
	for seq := range uint16(2 * sourceQueue) {
		s.send(packet(109, 20, seq, "x"))
	}
	if n := len(s.next(0)); n != sourceQueue {
		t.Errorf("%d packets are queued", n)
	}
}

// A client's clock is that of its sender reports.
func TestSenderReports(t *testing.T) {
	s := send(t, microphone(), camera())
	report, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 10, NTPTime: 1 << 40, RTPTime: 5}, &rtcp.SourceDescription{}})
	if err != nil {
		t.Fatal(err)
	}
	s.send(report)
	if c, ok := s.inlets[1].clock.now(); !ok || c.NTP != 1<<40 || c.RTP != 5 || c.Arrival.IsZero() {
		t.Errorf("%+v, %v", c, ok)
	}
	if _, ok := s.inlets[0].clock.now(); ok {
		t.Error("a clock without a report")
	}
}

// A panic ends the connection, and not who reads the socket.
func TestPanicInReceive(t *testing.T) {
	s := send(t, microphone())
	s.recorder = nil
	s.send(packet(109, 20, 1, "x", 3, "\x00\x01"))
	if s.ended != 1 || len(s.panics) != 1 {
		t.Errorf("ended %d times, panics: %v", s.ended, s.panics)
	}
	s.close() // the lock is free
}

// More SSRCs than a client has end the connection.
func TestSSRCsAreBounded(t *testing.T) {
	s := send(t, microphone())
	for ssrc := range uint32(64) {
		s.send(packet(109, 100+ssrc, 1, "x"))
	}
	if s.ended != 0 {
		t.Error("ended too early")
	}
	s.send(packet(109, 1, 1, "x"))
	if s.ended != 1 {
		t.Errorf("ended %d times", s.ended)
	}
}

func TestReceivingAllocatesNothing(t *testing.T) {
	s := send(t, camera())
	var bursts [][][]byte
	for i := range 1200 {
		var burst [][]byte
		for j := range 8 {
			seq := uint16(8*i + j)
			burst = append(burst, packet(120, 10, seq, string(make([]byte, 1000)), 3, string([]byte{byte(seq >> 8), byte(seq)}), 4, "\x01"))
		}
		bursts = append(bursts, s.seal(burst...))
	}
	batch := make([]*Packet, 64)
	at := 0
	receive := func() {
		s.Receive(bursts[at])
		at++
		n, err := s.inlets[0].source.Read(batch)
		if n != 8 || err != nil {
			t.Fatal(n, err)
		}
		for _, p := range batch[:n] {
			p.Release()
		}
	}
	for range 100 {
		receive()
	}
	// A garbage collection may empty the pool in between, and the race detector
	// lets it lose packets; the arrivals of 1000 bursts without an answer take some
	// memory. One allocation per packet would be 8.
	if n := testing.AllocsPerRun(1000, receive); n > 2 {
		t.Errorf("%v allocations for 8 packets", n)
	}
}

// FuzzReceive: whatever a client of ours seals, nothing panics, and the next
// packet is taken.
func FuzzReceive(f *testing.F) {
	f.Add(packet(120, 10, 1, "v1", 3, "\x00\x01", 4, "\x01", 5, "l"))
	f.Add(packet(124, 11, 1, "\x00\x01x", 6, "l"))
	f.Add(packet(124, 41, 1, "", 6, "l"))
	report, err := rtcp.Marshal([]rtcp.Packet{&rtcp.SenderReport{SSRC: 10, NTPTime: 1 << 40, RTPTime: 5}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(report)
	f.Fuzz(func(t *testing.T, b []byte) {
		named := camera()
		named.ssrcs, named.rids = nil, []string{"l", "h"}
		for _, c := range []*section{camera(), named} {
			s := send(t, microphone(), c)
			var sealed []byte
			var err error
			if isRTCP(b) {
				sealed, err = s.keys.EncryptRTCP(nil, b, nil)
			} else {
				sealed, err = s.keys.EncryptRTP(nil, b, nil)
			}
			if err == nil {
				s.Receive([][]byte{b, sealed, sealed})
			}
			_, _ = s.arrivals(), s.receptions(s.began)
			s.next(0)
			s.send(packet(109, 21, 1, "x"), packet(120, 12, 40000, "y", 5, "h"))
			if len(s.panics) > 0 || s.ended > 0 {
				t.Fatal(s.panics, s.ended)
			}
		}
	})
}
