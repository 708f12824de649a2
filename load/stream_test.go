package load

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// renumbered is what a node may do to a stream: other sequence numbers,
// timestamps and picture ids, at a constant distance.
func renumbered(p *rtp.Packet) *rtp.Packet {
	c := p.Clone()
	c.SequenceNumber += 4711
	c.Timestamp += 1 << 31
	if c.Payload[0]&0x80 != 0 && c.Payload[0] != opusTOC {
		id := (uint16(c.Payload[2]&0x7f)<<8 | uint16(c.Payload[3])) + 77
		c.Payload[2], c.Payload[3] = 0x80|byte(id>>8)&0x7f, byte(id)
		c.Payload[4] += 9
	}
	return c
}

// film is a minute of video, as a node sends it on.
func film(t *testing.T) []*rtp.Packet {
	t.Helper()
	f := newVideoFeed(7, vp8Bitrate)
	var all []*rtp.Packet
	for n := range 1500 {
		for _, p := range f.frame(at(time.Duration(n)*40*time.Millisecond), false, false) {
			all = append(all, renumbered(p))
		}
	}
	return all
}

func take(s *Stream, packets []*rtp.Packet) {
	for _, p := range packets {
		s.Take(p, 0, false)
	}
}

func TestStreamInOrder(t *testing.T) {
	packets := film(t)
	s := NewStream(7, Video)
	take(s, packets)
	last := uint32(len(packets) - 1)
	c := s.Counts(last)
	if c.Received != uint64(len(packets)) || c.Lost+c.Gaps+c.Duplicates+c.Reordered+c.Changed+c.Inconsistent != 0 || !c.FromKeyframe || c.Why != "" {
		t.Errorf("%+v", c)
	}
	if !s.Complete(last) || s.Complete(last+1) {
		t.Error("complete is wrong")
	}
}

// TestStreamSees shows that each kind of damage is found, and only that.
func TestStreamSees(t *testing.T) {
	packets := film(t)
	last := uint32(len(packets) - 1)
	tests := []struct {
		name   string
		damage func([]*rtp.Packet) []*rtp.Packet
		want   Counts
	}{
		{"loss", func(p []*rtp.Packet) []*rtp.Packet { return append(p[:100:100], p[103:]...) },
			Counts{Lost: 3, Gaps: 3}},
		{"loss at the end", func(p []*rtp.Packet) []*rtp.Packet { return p[:len(p)-4] },
			Counts{Lost: 4, Gaps: 4}},
		{"loss that a node has closed up", func(p []*rtp.Packet) []*rtp.Packet {
			out := append(p[:100:100], p[101:]...)
			for i := 100; i < len(out); i++ {
				out[i] = out[i].Clone()
				out[i].SequenceNumber--
			}
			return out
		}, Counts{Lost: 1, Gaps: 0, Inconsistent: uint64(len(packets) - 101)}},
		{"a packet twice", func(p []*rtp.Packet) []*rtp.Packet { return append(p[:101:101], p[100:]...) },
			Counts{Duplicates: 1}},
		{"two swapped", func(p []*rtp.Packet) []*rtp.Packet { p[100], p[101] = p[101], p[100]; return p },
			Counts{Reordered: 1}},
		{"a jump of the timestamp", func(p []*rtp.Packet) []*rtp.Packet { p[100] = p[100].Clone(); p[100].Timestamp++; return p },
			Counts{Inconsistent: 1}},
		{"a marker lost", func(p []*rtp.Packet) []*rtp.Packet {
			for i := 100; ; i++ {
				if p[i].Marker {
					p[i] = p[i].Clone()
					p[i].Marker = false
					return p
				}
			}
		}, Counts{Inconsistent: 1}},
		{"another picture id", func(p []*rtp.Packet) []*rtp.Packet { p[100] = p[100].Clone(); p[100].Payload[3]++; return p },
			Counts{Inconsistent: 1}},
		{"another TL0PICIDX", func(p []*rtp.Packet) []*rtp.Packet { p[100] = p[100].Clone(); p[100].Payload[4]++; return p },
			Counts{Inconsistent: 1}},
		{"a changed byte", func(p []*rtp.Packet) []*rtp.Packet { p[100] = p[100].Clone(); p[100].Payload[500]++; return p },
			Counts{Changed: 1, Lost: 1, Gaps: 1}},
		{"padding in between", func(p []*rtp.Packet) []*rtp.Packet {
			pad := p[100].Clone()
			pad.Payload = nil
			return append(append(p[:100:100], pad), p[100:]...)
		}, Counts{Changed: 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := NewStream(7, Video)
			take(s, test.damage(append([]*rtp.Packet(nil), packets...)))
			c := s.Counts(last)
			got := Counts{Lost: c.Lost, Gaps: c.Gaps, Duplicates: c.Duplicates, Reordered: c.Reordered, Changed: c.Changed, Inconsistent: c.Inconsistent}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			why := test.want.Changed+test.want.Inconsistent > 0
			if (c.Why != "") != why {
				t.Errorf("why: %q", c.Why)
			}
		})
	}
}

// TestStreamAnyOrder: the order has no influence on what is counted as lost.
func TestStreamAnyOrder(t *testing.T) {
	packets := film(t)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+64 <= len(packets); i += 64 { // as far as a network mixes
		window := packets[i : i+64]
		r.Shuffle(len(window), func(a, b int) { window[a], window[b] = window[b], window[a] })
	}
	kept := packets[:0]
	var lost uint64
	for i, p := range packets {
		if i > 0 && i < len(packets)-64 && r.IntN(20) == 0 {
			lost++
			continue
		}
		kept = append(kept, p)
	}
	s := NewStream(7, Video)
	take(s, kept)
	c := s.Counts(uint32(len(packets) - 1))
	// The first to come need not be number 0; then what is before it and never
	// comes does not count.
	if c.Lost > lost || c.Lost+3 < lost || c.Lost != c.Gaps || c.Inconsistent+c.Duplicates+c.Changed != 0 {
		t.Errorf("%d taken out: %+v", lost, c)
	}
}

func TestStreamTailAndWindow(t *testing.T) {
	f := newAudioFeed(7, opusBitrate)
	s := NewStream(7, Audio)
	s.Take(f.packet(time.Second, false), time.Second+time.Millisecond, false)
	s.Open(2 * time.Second)
	s.Take(f.packet(3*time.Second, false), 3*time.Second+5*time.Millisecond, true)
	s.Take(f.packet(4*time.Second, true), 5*time.Second, false)
	c := s.Counts(1)
	if c.Received != 2 || c.Repaired != 1 || c.Delays.Count() != 1 || c.Delays.Max() != 5*time.Millisecond || c.Lost != 0 {
		t.Errorf("%+v", c.Delays.Count())
	}
	if other := NewStream(8, Audio); true {
		other.Take(f.packet(0, false), 0, false)
		if c := other.Counts(0); c.Changed != 1 {
			t.Errorf("the stream of another publisher is not seen: %d", c.Changed)
		}
	}
}

// TestStreamWindow: what came of some packets, and the delays since Open alone.
func TestStreamWindow(t *testing.T) {
	f := newAudioFeed(7, opusBitrate)
	s := NewStream(7, Audio)
	for n := range 20 {
		sent := time.Duration(n) * time.Second
		switch p := f.packet(sent, false); n {
		case 10:
			s.Open(sent)
			s.Take(p, sent+5*time.Millisecond, false)
		case 12, 13:
		default:
			s.Take(p, sent+time.Millisecond, false)
		}
	}
	var d Delays
	if came := s.Window(10, 20, &d); came != 8 || d.Count() != 8 || d.Max() != 5*time.Millisecond {
		t.Errorf("%d came, %d delays up to %v", came, d.Count(), d.Max())
	}
	if came := s.Window(0, 10, new(Delays)); came != 10 {
		t.Errorf("%d came before", came)
	}
	s.Open(30 * time.Second)
	d = Delays{}
	if s.Window(10, 20, &d); d.Count() != 0 {
		t.Errorf("%d delays of the window before", d.Count())
	}
}

func TestDelays(t *testing.T) {
	var a, b Delays
	for i := range 1000 {
		d := &a
		if i%2 == 0 {
			d = &b
		}
		d.Add(time.Duration(i+1) * 100 * time.Microsecond)
	}
	b.Add(-time.Second)
	a.Merge(&b)
	if a.Count() != 1001 || a.Max() != 100*time.Millisecond {
		t.Errorf("count %d, max %v", a.Count(), a.Max())
	}
	for q, want := range map[float64]time.Duration{0.5: 50 * time.Millisecond, 0.95: 95 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond} {
		got := a.Quantile(q)
		if got < want-100*time.Microsecond || float64(got) > float64(want)*(1+1.0/delaySteps) {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	// Every delay lies in its bucket.
	for v := time.Duration(0); v < 2*time.Minute; v = v*101/100 + time.Microsecond {
		i := delayBucket(v)
		if i < delayBuckets-1 && (v >= delayBorder(i) || i > 0 && v < delayBorder(i-1)) {
			t.Fatalf("%v in bucket %d, below %v", v, i, delayBorder(i))
		}
	}
	var none Delays
	if none.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
