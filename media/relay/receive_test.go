package relay

import (
	"testing"
	"time"

	"github.com/talkd/talkd/media"
)

// framesFor seals packets for the port, from the counter on.
func framesFor(p *port, counter uint64, n int) (frames [][]byte) {
	var pool media.Pool
	for i := range n {
		h := header{kind: kindRTP, epoch: p.link.inEpoch, stream: p.stream, counter: counter + uint64(i)}
		frames = append(frames, seal(nil, p.link.in, new([nonceLen]byte), h, testPacket(&pool, uint16(h.counter), 100).Raw()))
	}
	return frames
}

// What the socket has received at once is handed over at once: a burst stays
// one.
func TestBurstsStayBursts(t *testing.T) {
	m, first, _ := fuzzManager(t)
	second := first.in.pull.ports[1]
	in := &intake{m: m}
	in.begin(time.Now())
	a, b := framesFor(first, 1, 6), framesFor(second, 1, 6)
	for i := range a {
		in.receive(a[i])
		in.receive(b[i])
		if n := first.in.queue.take(make([]*media.Packet, 1)); n != 0 {
			t.Fatal("a packet came before the others")
		}
	}
	in.end()
	for _, p := range []*port{first, second} {
		if n, err := p.in.Read(make([]*media.Packet, 64)); n != 6 || err != nil {
			t.Errorf("read %d packets, %v", n, err)
		}
	}
}

// A frame is taken once, whether it comes again in the same burst or later.
func TestReplayInABurst(t *testing.T) {
	m, p, _ := fuzzManager(t)
	in := &intake{m: m}
	frame := framesFor(p, 1, 1)[0]
	for range 2 {
		in.begin(time.Now())
		in.receive(frame)
		in.receive(frame)
		in.end()
	}
	if n := m.stats.drops[dropReplay].Load(); n != 3 || m.Totals().PacketsIn != 1 {
		t.Errorf("%d refused, %d taken", n, m.Totals().PacketsIn)
	}
}

// A stream that has ended takes nothing of the next burst, though the burst
// before was of it.
func TestStreamEndsBetweenBursts(t *testing.T) {
	m, p, _ := fuzzManager(t)
	in := &intake{m: m}
	frames := framesFor(p, 1, 2)
	in.begin(time.Now())
	in.receive(frames[0])
	in.end()
	m.table.release(p.link, p.in.pull.ports)
	in.begin(time.Now())
	in.receive(frames[1])
	in.end()
	if n := m.stats.drops[dropStream].Load(); n != 1 {
		t.Errorf("%d frames of ended streams", n)
	}
}

// A layer whose goroutine does not keep up loses what finds no room, whole
// bursts too.
func TestQueueIsBounded(t *testing.T) {
	m, p, _ := fuzzManager(t)
	in := &intake{m: m}
	const burst = 200
	for i := range 4 {
		in.begin(time.Now())
		for _, f := range framesFor(p, uint64(1+i*burst), burst) {
			in.receive(f)
		}
		in.end()
	}
	if n := m.stats.drops[dropQueue].Load(); n != 4*burst-queueLen || p.in.full.Load() != n {
		t.Errorf("%d packets dropped", n)
	}
	batch := make([]*media.Packet, 100)
	for want := uint16(1); want <= queueLen; {
		n, err := p.in.Read(batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, packet := range batch[:n] {
			if packet.Sequence != want {
				t.Fatalf("packet %d, want %d", packet.Sequence, want)
			}
			packet.Release()
			want++
		}
	}
	for _, f := range framesFor(p, 4*burst+1, 1) { // there is room again
		in.receive(f)
	}
	in.end()
	if n, err := p.in.Read(batch); n != 1 || err != nil {
		t.Errorf("read %d packets, %v", n, err)
	}
}
