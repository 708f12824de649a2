package media

import (
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// nowhere is what was negotiated with a subscriber that needs no network.
type nowhere struct{ packets int }

func (*nowhere) CodecParameters() []webrtc.RTPCodecParameters {
	return []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeVP8, ClockRate: 90000}, PayloadType: 96},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimeRTX, ClockRate: 90000, SDPFmtpLine: "apt=96"}, PayloadType: 97},
	}
}

func (*nowhere) HeaderExtensions() []webrtc.RTPHeaderExtensionParameter {
	return []webrtc.RTPHeaderExtensionParameter{{URI: uriVideoOrientation, ID: 7}}
}
func (*nowhere) SSRC() webrtc.SSRC                       { return 1 }
func (*nowhere) SSRCRetransmission() webrtc.SSRC         { return 2 }
func (*nowhere) SSRCForwardErrorCorrection() webrtc.SSRC { return 0 }
func (n *nowhere) WriteStream() webrtc.TrackLocalWriter  { return n }
func (*nowhere) ID() string                              { return "" }
func (*nowhere) RTCPReader() interceptor.RTCPReader      { return nil }
func (*nowhere) Write(b []byte) (int, error)             { return len(b), nil }
func (n *nowhere) WriteRTP(_ *rtp.Header, p []byte) (int, error) {
	n.packets++
	return 12 + len(p), nil
}

// fan is a layer with subscribers on it.
func fan(t testing.TB, subscribers int) (*feed, []*downTrack, []*nowhere) {
	t.Helper()
	pub := Publication{Tracks: []TrackInfo{{Kind: Video, Codec: codecVP8(), Layers: []LayerInfo{{}}}}}
	f := newFeed(pub, &traffic{})
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var tracks []*downTrack
	var ends []*nowhere
	for range subscribers {
		d, n := newDownTrack("s", pub.Tracks[0], &traffic{}, m), &nowhere{}
		if _, err := d.Bind(n); err != nil {
			t.Fatal(err)
		}
		d.rebind(f, 0)
		d.connect()
		tracks, ends = append(tracks, d), append(ends, n)
	}
	return f, tracks, ends
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
	f, _, ends := fan(b, 50)
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
		l.forward(batch)
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
	if ends[0].packets == 0 || ends[49].packets != ends[0].packets {
		b.Fatal("nothing was forwarded")
	}
}

func TestForwardingAllocatesNothing(t *testing.T) {
	f, _, ends := fan(t, 3)
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
		l.forward(batch)
	}
	for range 600 {
		send()
	}
	// A garbage collection may empty the pool in between, and the race detector
	// lets it lose packets; one allocation per packet would be 12.
	if n := testing.AllocsPerRun(1000, send); n > 2 {
		t.Errorf("%v allocations for 12 forwarded packets", n)
	}
	if ends[0].packets < 4000 {
		t.Errorf("%d packets forwarded", ends[0].packets)
	}
}

func TestResendIsBounded(t *testing.T) {
	f, tracks, ends := fan(t, 1)
	var pool Pool
	d, l := tracks[0], f.layers[0][0]
	for seq := range uint16(1000) {
		l.forward([]*Packet{frame(&pool, seq, seq == 0)})
	}
	all := make([]uint16, 1000)
	for range 5 {
		for i := range all {
			all[i] = uint16(i)
		}
		d.resend(all)
	}
	if again := ends[0].packets - 1000; again != resendBurst {
		t.Errorf("%d packets again", again)
	}
	before := ends[0].packets
	for seq := range uint16(100) {
		l.forward([]*Packet{frame(&pool, 1000+seq, false)})
	}
	d.resend([]uint16{1000, 1001, 5000}) // one that never was
	if again := ends[0].packets - before - 100; again != 2 {
		t.Errorf("%d packets again after more were sent", again)
	}
}
