package media

import (
	"net/netip"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media/srtp"
)

// negotiated is what a subscriber of video agreed to.
type negotiated struct{ ssrc uint32 }

func (negotiated) CodecParameters() []webrtc.RTPCodecParameters {
	return []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeVP8, ClockRate: 90000}, PayloadType: 96},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeRTX, ClockRate: 90000, SDPFmtpLine: "apt=96"}, PayloadType: 97},
	}
}

func (negotiated) HeaderExtensions() []webrtc.RTPHeaderExtensionParameter {
	return []webrtc.RTPHeaderExtensionParameter{{URI: uriVideoOrientation, ID: 7}}
}
func (n negotiated) SSRC() webrtc.SSRC                     { return webrtc.SSRC(n.ssrc) }
func (n negotiated) SSRCRetransmission() webrtc.SSRC       { return webrtc.SSRC(n.ssrc + 1) }
func (negotiated) SSRCForwardErrorCorrection() webrtc.SSRC { return 0 }
func (negotiated) WriteStream() webrtc.TrackLocalWriter    { return refuses{} }
func (negotiated) ID() string                              { return "" }
func (negotiated) RTCPReader() interceptor.RTCPReader      { return nil }

// refuses is the library's way to write, where it is not to be used.
type refuses struct{}

func (refuses) Write([]byte) (int, error)                 { panic("written by the library") }
func (refuses) WriteRTP(*rtp.Header, []byte) (int, error) { panic("written by the library") }

// nowhere takes all bursts, and counts packets by port.
type nowhere struct {
	room    [512 << 10]byte
	at      int
	packets [64]int
}

func (n *nowhere) Room(size int) []byte {
	if n.at+size > len(n.room) {
		n.at = 0
	}
	return n.room[n.at : n.at+size]
}

func (n *nowhere) Add(to netip.AddrPort, bytes int) {
	n.at += bytes
	n.packets[to.Port()]++
}

func (*nowhere) Spill()           {}
func (*nowhere) Flush() int       { return 0 }
func (n *nowhere) TryFlush() bool { return true }
func (n *nowhere) Release()       { n.at = 0 }

// connected is the way of a connection that is established, to a port. Its keys
// are zeros.
func connected(t testing.TB, port int) *egress {
	t.Helper()
	e := &egress{}
	var err error
	if e.sealer, err = srtp.NewSealer(piondtls.SRTP_AEAD_AES_256_GCM, make([]byte, 32), make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	e.to.Store(&destination{udp: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(port))})
	return e
}

// fan is a layer with subscribers on it, at ports from 1 on.
func fan(t testing.TB, subscribers int) (*feed, []*downTrack, *nowhere) {
	t.Helper()
	end := &nowhere{}
	pub := Publication{Tracks: []TrackInfo{{Kind: Video, Codec: codecVP8(), Layers: []LayerInfo{{}}}}}
	f := newFeed(pub, &group{}, &network{burst: func() burst { return end }})
	var tracks []*downTrack
	for i := range subscribers {
		tracks = append(tracks, listening(t, f, negotiated{ssrc: 7}, i+1))
	}
	return f, tracks, end
}

// listening is a subscriber's track of a feed, on its way to a port.
func listening(t testing.TB, f *feed, c webrtc.TrackLocalContext, port int) *downTrack {
	t.Helper()
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDownTrack("s", f.pub.Tracks[0], &traffic{}, m)
	if _, err := d.Bind(c); err != nil {
		t.Fatal(err)
	}
	d.rebind(f, 0)
	if err := d.connect(connected(t, port)); err != nil {
		t.Fatal(err)
	}
	return d
}

// frame is a packet of 1200 bytes with a header extension.
func frame(pool *Pool, seq uint16, key bool) *Packet {
	p := pool.Get()
	b := p.Buffer()
	copy(b, []byte{0x90, PayloadVP8, byte(seq >> 8), byte(seq), 0, 0, byte(seq >> 8), byte(seq), 0, 0, 0, 1,
		0xbe, 0xde, 0, 1, ExtVideoOrientation << 4, 3, 0, 0,
		0x90, 0x80, 0x80 | byte(seq>>8)&0x7f, byte(seq), 1})
	if key {
		b[24] = 0
	}
	if err := p.Parse(1200); err != nil {
		panic(err)
	}
	p.Arrival = time.Now()
	return p
}

func BenchmarkForward50(b *testing.B) {
	f, _, end := fan(b, 50)
	var pool Pool
	l := f.layers[0][0]
	batch := make([]*Packet, 0, 8)
	seq := uint16(0)
	send := func() {
		batch = batch[:0]
		for range 8 {
			batch = append(batch, frame(&pool, seq, seq == 0))
			seq++
		}
		l.forward(batch, flush)
	}
	for range 200 {
		send() // fills the history, which takes its packets out of the pool
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		send()
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*8*50), "ns/forwarded")
	if end.packets[1] == 0 || end.packets[50] != end.packets[1] {
		b.Fatal("nothing was forwarded")
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	f, _, end := fan(t, 3)
	var pool Pool
	l := f.layers[0][0]
	batch := make([]*Packet, 0, 4)
	seq := uint16(0)
	send := func() {
		batch = batch[:0]
		for range 4 {
			batch = append(batch, frame(&pool, seq, seq == 0))
			seq++
		}
		l.forward(batch, flush)
	}
	for range 600 {
		send()
	}
	// A garbage collection may empty the pool in between, and the race detector
	// lets it lose packets; one allocation per packet would be 12.
	if n := testing.AllocsPerRun(1000, send); n > 2 {
		t.Errorf("%v allocations for 12 forwarded packets", n)
	}
	if end.packets[1] < 4000 {
		t.Errorf("%d packets forwarded", end.packets[1])
	}
}

func TestResendIsBounded(t *testing.T) {
	f, tracks, end := fan(t, 1)
	var pool Pool
	d, l := tracks[0], f.layers[0][0]
	for seq := range uint16(1000) {
		l.forward([]*Packet{frame(&pool, seq, seq == 0)}, flush)
	}
	all := make([]uint16, 1000)
	for range 5 {
		for i := range all {
			all[i] = uint16(i)
		}
		d.resend(all)
	}
	if again := end.packets[1] - 1000; again != resendBurst {
		t.Errorf("%d packets again", again)
	}
	before := end.packets[1]
	for seq := range uint16(100) {
		l.forward([]*Packet{frame(&pool, 1000+seq, false)}, flush)
	}
	d.resend([]uint16{1000, 1001, 5000}) // one that never was
	if again := end.packets[1] - before - 100; again != 2 {
		t.Errorf("%d packets again after more were sent", again)
	}
}
