package media

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pushed is a Source and a Feedback for one layer.
type pushed struct {
	packets   chan *Packet
	keyframes int
	nacks     []uint16
}

func (p *pushed) Read(batch []*Packet) (int, error) {
	pkt, ok := <-p.packets
	if !ok {
		return 0, ErrClosed
	}
	batch[0] = pkt
	return 1, nil
}

func (p *pushed) Close() error       { close(p.packets); return nil }
func (p *pushed) NACK(seqs []uint16) { p.nacks = append(p.nacks, seqs...) }
func (p *pushed) Keyframe()          { p.keyframes++ }

// kept is a Sink that notes sequence numbers.
type kept struct{ seqs []uint16 }

func (k *kept) Write(batch []*Packet) {
	for _, p := range batch {
		k.seqs = append(k.seqs, p.Sequence)
	}
}

func numbered(pool *Pool, seq uint16) *Packet {
	p := pool.Get()
	b := p.Buffer()
	copy(b, []byte{0x80, PayloadVP8, byte(seq >> 8), byte(seq), 0, 0, 0, 1, 0, 0, 0, 1, 0x10, 0})
	if err := p.Parse(14); err != nil {
		panic(err)
	}
	p.Arrival = time.Now()
	return p
}

func TestLayer(t *testing.T) {
	var pool Pool
	stats := &group{traffic: traffic{total: &traffic{}}}
	l := newLayer(Video, stats, nil)
	src := &pushed{packets: make(chan *Packet)}
	l.up.Store(&uplink{feedback: src})
	a, b := &kept{}, &kept{}
	ta, tb := l.attach(a), l.attach(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = l.pump(src)
	}()
	for _, seq := range []uint16{65534, 65535, 0, 0, 2} { // 0 twice, 1 missing
		src.packets <- numbered(&pool, seq)
	}
	src.packets <- numbered(&pool, 3) // taken when 2 is forwarded
	tb.Close()
	tb.Close()
	src.packets <- numbered(&pool, 1)
	src.packets <- numbered(&pool, 4)
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	// The history is there until the pump ends; ask before.
	<-done
	if want := []uint16{65534, 65535, 0, 2, 3, 1, 4}; !slices.Equal(a.seqs, want) {
		t.Errorf("a: %v", a.seqs)
	}
	if len(b.seqs) < 4 || slices.Contains(b.seqs, 4) {
		t.Errorf("b: %v", b.seqs)
	}
	if n := stats.packetsIn.Load(); n != 7 || stats.total.packetsIn.Load() != 7 || stats.bytesIn.Load() != 7*14 {
		t.Errorf("%d packets counted", n)
	}
	if !l.alive(time.Now()) || l.alive(time.Now().Add(3*time.Second)) {
		t.Error("alive")
	}

	for range 5 {
		ta.Keyframe()
	}
	if src.keyframes != 1 {
		t.Errorf("%d keyframe requests", src.keyframes)
	}
	ta.NACK([]uint16{7, 8})
	if !slices.Equal(src.nacks, []uint16{7, 8}) {
		t.Errorf("asked upstream for %v", src.nacks)
	}
}

func TestHistoryAnswersNACK(t *testing.T) {
	var pool Pool
	l := newLayer(Video, &group{}, nil)
	src := &pushed{}
	l.up.Store(&uplink{feedback: src})
	l.forward([]*Packet{numbered(&pool, 10), numbered(&pool, 11), numbered(&pool, 12)}, flush)
	k := &kept{}
	l.attach(k).NACK([]uint16{10, 12, 13})
	if !slices.Equal(k.seqs, []uint16{10, 12}) || !slices.Equal(src.nacks, []uint16{13}) {
		t.Errorf("again %v, upstream %v", k.seqs, src.nacks)
	}
}

func TestKeyframeGate(t *testing.T) {
	var g keyframeGate
	now := time.Now()
	for _, tc := range []struct {
		at   time.Duration
		want bool
	}{{0, true}, {1, false}, {keyframeInterval - 1, false}, {keyframeInterval, true}, {keyframeInterval + 1, false}} {
		if got := g.open(now.Add(tc.at)); got != tc.want {
			t.Errorf("after %v: %v", tc.at, got)
		}
	}
}

// Requests that come too early are one, made as soon as it may be, so that nobody
// waits longer than needed; a keyframe that came meanwhile is good for all.
func TestKeyframesOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool Pool
		l := newLayer(Video, &group{}, nil)
		src := &pushed{}
		l.up.Store(&uplink{feedback: src})
		var seq uint16
		after := func(d time.Duration, key bool, want int) {
			t.Helper()
			time.Sleep(d) // of the bubble
			l.forward([]*Packet{frame(&pool, seq, key)}, flush)
			seq++
			if src.keyframes != want {
				t.Errorf("packet %d: asked %d times, want %d", seq, src.keyframes, want)
			}
		}
		l.keyframe()
		after(100*time.Millisecond, true, 1)
		for range 3 {
			l.keyframe()
		}
		after(100*time.Millisecond, false, 1)
		after(300*time.Millisecond, false, 2)
		after(time.Second, false, 2)

		l.keyframe()
		l.keyframe()
		after(100*time.Millisecond, true, 3)
		after(time.Second, false, 3)
	})
}
