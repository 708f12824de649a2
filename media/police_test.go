package media

import (
	"testing"
	"time"
)

// policed is a layer of a publisher as its police sees it, in a time of its own.
type policed struct {
	*police
	pool   Pool
	t      *testing.T
	began  time.Time
	now    time.Time
	every  time.Duration // a frame
	pieces int           // packets of a frame
	size   int           // bytes of a packet
	frames int
	seq    uint16
	key    bool // the next frame is a keyframe

	// What was let through.
	passed  int // bytes
	whole   int // frames
	last    uint16
	sequel  bool // something was let through before
	refused int  // packets
	decodes bool // nothing is missing since a keyframe
	broken  int  // frames that began without
}

func watched(t *testing.T, a *allowance, reserved float64, bitrate int) *policed {
	t.Helper()
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	const fps, size = 25, 1000
	return &policed{
		police: newPolice(&layer{video: true}, a, reserved, m), t: t, began: now, now: now,
		every: time.Second / fps, pieces: max(bitrate/8/fps/size, 1), size: size, key: true, seq: 65500,
	}
}

// packet offers one, and looks at what becomes of it.
func (w *policed) packet(key bool) bool {
	p := numbered(&w.pool, w.seq)
	defer p.Release()
	b := p.Buffer()
	b[4], b[5], b[6], b[7] = byte(w.frames>>24), byte(w.frames>>16), byte(w.frames>>8), byte(w.frames)
	if key {
		b[13] = 0
	} else {
		b[13] = 1
	}
	if err := p.Parse(w.size); err != nil {
		w.t.Fatal(err)
	}
	p.Arrival = w.now
	w.seq++
	if !w.pass(p) {
		w.refused++
		return false
	}
	if w.sequel && p.Sequence != w.last+1 {
		w.t.Fatalf("number %d after %d", p.Sequence, w.last)
	}
	w.sequel, w.last = true, p.Sequence
	w.passed += p.n
	return true
}

// frame is one more. Whoever receives it asks for a keyframe as the layer does.
func (w *policed) frame() {
	w.now = w.began.Add(time.Duration(w.frames) * w.every)
	key := w.key
	w.key = false
	var passed int
	for i := range w.pieces {
		if w.packet(key && i == 0) {
			passed++
		}
	}
	switch passed {
	case w.pieces:
		if w.decodes = w.decodes || key; !w.decodes {
			w.broken++
		}
		w.whole++
	case 0:
		w.decodes = false
	default:
		w.decodes = false
		w.broken++
	}
	w.frames++
	w.key = w.key || w.count()
}

func (w *policed) run(d time.Duration) {
	for range int(d / w.every) {
		w.frame()
	}
}

// rate is what was let through of a time, in bit/s.
func rate(bytes int, d time.Duration) int { return int(float64(bytes*8) / d.Seconds()) }

// TestPolice: whatever a publisher sends, what is let through is within its limit, in
// frames that can be decoded; who is within it is let through whole.
func TestPolice(t *testing.T) {
	const limit, long = 1_000_000, 60 * time.Second
	for _, c := range []struct {
		name          string
		bitrate       int
		least, most   int // bit/s
		wholeOrPoorer bool
	}{
		{"half", limit / 2, 390_000, limit / 2, false},
		{"limit", limit, 990_000, limit, false},
		{"twice", 2 * limit, 900_000, 1_100_000, true},
		{"four times", 4 * limit, 900_000, 1_100_000, true},
		{"fifty times", 50 * limit, 700_000, 1_100_000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &allowance{}
			a.set(limit)
			w := watched(t, a, 0, c.bitrate)
			w.run(long)
			got := rate(w.passed, long)
			t.Logf("%d bit/s sent: %d bit/s and %d of %d frames let through", c.bitrate, got, w.whole, w.frames)
			if got < c.least || got > c.most {
				t.Errorf("%d bit/s, want %d to %d", got, c.least, c.most)
			}
			if w.broken > 0 {
				t.Errorf("%d frames that cannot be decoded", w.broken)
			}
			if c.wholeOrPoorer != (w.refused > 0) {
				t.Errorf("%d packets left out", w.refused)
			}
		})
	}
}

// TestPoliceSettles: after the burst, what is let through is the limit and what is
// tolerated, and no more.
func TestPoliceSettles(t *testing.T) {
	a := &allowance{}
	a.set(1_000_000)
	w := watched(t, a, 0, 4_000_000)
	w.run(20 * time.Second)
	before := w.passed
	w.run(100 * time.Second)
	if got := rate(w.passed-before, 100*time.Second); got < 1_000_000 || got > 1_060_000 {
		t.Errorf("%d bit/s", got)
	}
}

// TestPoliceFollowsTheLimit: who is in bounds of a new limit is let through, who is not
// is held to it; without a limit all is let through.
func TestPoliceFollowsTheLimit(t *testing.T) {
	a := &allowance{}
	a.set(2_000_000)
	w := watched(t, a, 0, 1_600_000)
	w.run(10 * time.Second)
	if w.refused > 0 {
		t.Fatalf("%d packets left out below the limit", w.refused)
	}
	a.set(500_000)
	w.run(10 * time.Second)
	before := w.passed
	w.run(60 * time.Second)
	if got := rate(w.passed-before, 60*time.Second); got < 450_000 || got > 550_000 {
		t.Errorf("%d bit/s at a limit of 500,000", got)
	}
	for _, limit := range []int{2_000_000, 0} {
		a.set(500_000)
		w.run(20 * time.Second)
		a.set(limit)
		w.run(3 * time.Second)
		refused := w.refused
		w.run(60 * time.Second)
		if w.refused != refused {
			t.Errorf("%d packets left out at a limit of %d", w.refused-refused, limit)
		}
	}
	if w.broken > 0 {
		t.Errorf("%d frames that cannot be decoded", w.broken)
	}
}

// TestPoliceLeavesTheHighestOut: of a simulcast that is too much the highest layer goes
// first, and tries again ever more rarely.
func TestPoliceLeavesTheHighestOut(t *testing.T) {
	a := &allowance{}
	a.set(1_000_000)
	low, mid, high := watched(t, a, 0, 200_000), watched(t, a, 1.0/6, 400_000), watched(t, a, 2.0/6, 3_000_000)
	begins, shut := 0, false
	for range 25 * 120 {
		low.frame()
		mid.frame()
		high.frame()
		if now := high.shut.Load(); now != shut {
			shut = now
			if !now {
				begins++
			}
		}
	}
	if low.refused+mid.refused > 0 {
		t.Errorf("%d packets of the lowest layer and %d of the one above left out", low.refused, mid.refused)
	}
	if high.refused == 0 || high.broken > 0 {
		t.Errorf("the highest: %d packets left out, %d frames that cannot be decoded", high.refused, high.broken)
	}
	if begins < 2 || begins > 6 {
		t.Errorf("the highest began anew %d times in two minutes", begins)
	}
}

// TestPoliceOfARaisedLimit: a layer that has been left out again and again is let through
// at once when more is allowed, or anything.
func TestPoliceOfARaisedLimit(t *testing.T) {
	for _, limit := range []int{20_000_000, 0} {
		a := &allowance{}
		a.set(1_000_000)
		w := watched(t, a, 1.0/6, 3_000_000)
		w.run(100 * time.Second)
		w.key = true
		for !w.shut.Load() {
			w.frame()
		}
		a.set(limit)
		whole := w.whole
		w.run(time.Second)
		if w.whole-whole < 20 || w.shut.Load() {
			t.Errorf("%d frames let through in the second after the limit became %d", w.whole-whole, limit)
		}
	}
}

// TestTracksFollowThePolice: who gets a layer that is shut waits for the one below at
// once, and has the better one again when that is opened, of which a keyframe is asked for
// though nobody gets it.
func TestTracksFollowThePolice(t *testing.T) {
	end := &nowhere{}
	pub := Publication{Tracks: []TrackInfo{{Kind: Video, Codec: codecVP8(), Layers: []LayerInfo{{}, {Index: 1}}}}}
	f := newFeed(pub, &group{}, &network{burst: func() burst { return end }})
	low, high := f.layers[0][0], f.layers[0][1]
	m, err := newMetrics(&Engine{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &allowance{}
	a.set(100_000)
	asked := &pushed{}
	for i, l := range f.layers[0] {
		l.police = newPolice(l, a, float64(i)/4, m)
		l.police.track, l.police.run = f.layers[0], func(f func()) bool { f(); return true }
		l.up.Store(&uplink{feedback: &pushed{}})
	}
	high.up.Store(&uplink{feedback: asked})
	d := listening(t, f, negotiated{ssrc: 7}, 1)
	var pool Pool
	var seq uint16
	now := time.Now()
	send := func(l *layer, key bool) {
		p := frame(&pool, seq, key)
		p.Arrival = now
		l.forward([]*Packet{p}, flush)
		seq++
	}
	send(low, true)
	send(high, true)
	d.review(false)
	send(high, true)
	if d.current == nil || d.current.layer != high {
		t.Fatal("the better layer is not there")
	}
	for !high.police.shut.Load() {
		send(high, false)
	}
	if d.next == nil || d.next.layer != low {
		t.Fatal("the layer below is not waited for")
	}
	send(low, true)
	if d.current.layer != low || high.attached() {
		t.Fatal("the layer below is not there")
	}
	now = now.Add(2 * firstClosed)
	high.asked = keyframeGate{}
	before := asked.keyframes
	send(high, false)
	if asked.keyframes != before+1 {
		t.Errorf("%d keyframes asked for", asked.keyframes-before)
	}
	send(high, true)
	if d.current.layer != high {
		t.Error("the better layer is not there again")
	}
}

// TestPoliceLetsAFrameThrough: one that is larger than what there is goes through whole,
// if it is a frame.
func TestPoliceLetsAFrameThrough(t *testing.T) {
	a := &allowance{}
	a.set(100_000) // 128 KiB at once
	w := watched(t, a, 0, 0)
	for range 120 {
		w.packet(w.seq == 65500)
	}
	w.frames++
	for range 120 {
		w.packet(false)
	}
	if w.refused > 0 {
		t.Fatalf("%d packets of a frame left out", w.refused)
	}
	for range 1000 { // no frame is as large
		w.packet(false)
	}
	if w.passed < 250<<10 || w.passed > 270<<10 {
		t.Errorf("%d bytes let through of an endless frame", w.passed)
	}
	// What was borrowed is given back before another one begins.
	w.began, w.frames, w.every = w.now, w.frames+1, time.Second
	passed, first := w.passed, 0
	for w.passed == passed {
		w.key = true
		w.frame()
		first++
	}
	if first < 14 || first > 17 { // one and a half times 128 KiB at 105 kbit/s
		t.Errorf("the next keyframe was let through after %d s", first)
	}
}

// TestPoliceOfTinyPackets: they are not let through in any number.
func TestPoliceOfTinyPackets(t *testing.T) {
	const limit, long = 1_000_000, 60 * time.Second
	a := &allowance{}
	a.set(limit)
	w := watched(t, a, 0, 0)
	w.size, w.pieces = 20, 400 // 10,000 a second
	w.run(long)
	if most := 1.1 * limit / 8 / leastPacket * long.Seconds(); float64(w.passed/w.size) > most {
		t.Errorf("%d packets let through, want %.0f at most", w.passed/w.size, most)
	}
}

// TestPoliceOfVoices: audio is left out packet by packet, beyond what Opus makes.
func TestPoliceOfVoices(t *testing.T) {
	for _, c := range []struct {
		bitrate int
		all     bool
	}{{510_000, true}, {2_000_000, false}} {
		a := &allowance{}
		a.set(maxAudioBitrate)
		w := watched(t, a, 0, c.bitrate)
		w.police = newPolice(&layer{}, a, 0, w.metrics)
		w.every, w.pieces, w.size = 20*time.Millisecond, 1, c.bitrate/8/50
		if w.size > MaxPacket {
			w.every, w.size = 4*time.Millisecond, c.bitrate/8/250
		}
		w.run(30 * time.Second)
		got := rate(w.passed, 30*time.Second)
		if c.all != (w.refused == 0) || got > 640_000 || got < 500_000 {
			t.Errorf("%d bit/s: %d packets left out, %d bit/s let through", c.bitrate, w.refused, got)
		}
	}
}

// TestPoliceKnowsTheNumbers: what was lost is asked for by the publisher's numbers, and
// what is late from before something was left out has no place.
func TestPoliceKnowsTheNumbers(t *testing.T) {
	a := &allowance{}
	a.set(1_000_000)
	w := watched(t, a, 0, 8_000_000)
	for w.refused == 0 || !w.decodes {
		w.frame()
	}
	given, sent := w.last, w.seq-1
	if given == sent {
		t.Fatal("nothing was left out")
	}
	seqs := []uint16{given, given - 1}
	if w.original(seqs); seqs[0] != sent || seqs[1] != sent-1 {
		t.Errorf("packet %d, sent as %d, is asked for as %d", given, sent, seqs[0])
	}
	late := numbered(&w.pool, 65501)
	defer late.Release()
	late.Arrival = w.now
	if w.pass(late) {
		t.Error("a packet from before was let through")
	}
}

func BenchmarkPolice(b *testing.B) {
	a := &allowance{}
	a.set(1_000_000_000)
	s := newPolice(&layer{video: true}, a, 0, nil)
	var pool Pool
	p := frame(&pool, 0, true)
	for n := 0; b.Loop(); n++ {
		p.Sequence++
		if n%16 == 0 { // packets come in bursts
			p.Arrival = p.Arrival.Add(time.Millisecond)
		}
		if !s.pass(p) {
			b.Fatal("left out")
		}
	}
}
