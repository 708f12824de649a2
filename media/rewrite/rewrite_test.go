package rewrite

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// A source with loss and reordering, whose numbers wrap around, comes out with
// the same differences, however often it is paused or replaced.
func TestNumberingIsContinuous(t *testing.T) {
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 1))
		var n Numbering
		var lastOut uint16
		var any bool
		for stretch := range 1 + r.IntN(6) {
			first, ts := uint16(r.Uint32()), r.Uint32()
			wasSeq, wasTS, had := n.Last()
			ticks := r.Uint32N(90000)
			if stretch > 0 {
				n.Switch(ticks)
			}
			count := 1 + r.IntN(70000)
			var off uint16
			var tsOff uint32
			for i := range count {
				seq, stamp := first+uint16(i), ts+uint32(i)*3000
				out, outTS, ok := n.Next(seq, stamp)
				if !ok {
					t.Fatalf("seed %d: packet %d refused", seed, i)
				}
				if i == 0 {
					off, tsOff = out-seq, outTS-stamp
					if had && (out != wasSeq+1 || outTS != wasTS+max(ticks, 1)) {
						t.Fatalf("seed %d: stretch begins with %d, %d after %d, %d", seed, out, outTS, wasSeq, wasTS)
					}
				}
				if out-seq != off || outTS-stamp != tsOff {
					t.Fatalf("seed %d: offset changed within a stretch", seed)
				}
				if any && out != lastOut+1 {
					t.Fatalf("seed %d: %d follows %d", seed, out, lastOut)
				}
				lastOut, any = out, true
				back := uint16(r.IntN(min(i+1, 500)))
				if got, gotTS, ok := n.Again(seq-back, stamp-uint32(back)*3000); !ok || got != out-back || gotTS != outTS-uint32(back)*3000 {
					t.Fatalf("seed %d: a packet %d earlier maps to %d, want %d", seed, back, got, out-back)
				}
				if src, ok := n.Source(out - back); !ok || src != seq-back {
					t.Fatalf("seed %d: Source(%d) = %d, %v", seed, out-back, src, ok)
				}
			}
			if i := n.low; uint16(i) != first {
				t.Fatalf("seed %d: stretch begins at %d", seed, i)
			}
			if _, ok := n.Source(lastOut + 1); ok {
				t.Fatalf("seed %d: a number that was never handed out is known", seed)
			}
			if count < 30000 {
				if _, _, ok := n.Next(first-1, ts); ok {
					t.Fatalf("seed %d: a packet from before the stretch got a number", seed)
				}
			}
		}
	}
}

func TestNumberingResume(t *testing.T) {
	var n Numbering
	n.Resume() // nothing was sent: no effect
	if seq, ts, ok := n.Next(65534, 100); !ok || seq != 32766 || ts != 100 {
		t.Fatalf("the first packet is %d, %d, want one of the lower half", seq, ts)
	}
	n.Next(65535, 200)
	n.Resume()
	if _, ok := n.Source(32767); ok {
		t.Error("a number of an ended stretch is known")
	}
	seq, ts, ok := n.Next(40, 5000)
	if !ok || seq != 32768 || ts != 5000 {
		t.Errorf("after the pause: %d, %d, %v, want 32768, 5000", seq, ts, ok)
	}
	if _, _, ok := n.Next(39, 4000); ok {
		t.Error("a late packet of the pause got a number")
	}
	// Reordered packets within the stretch keep their places.
	if seq, _, ok := n.Next(43, 8000); !ok || seq != 32771 {
		t.Errorf("43 is %d", seq)
	}
	if seq, _, ok := n.Next(41, 6000); !ok || seq != 32769 {
		t.Errorf("41 is %d", seq)
	}
	if seq, _, _ := n.Last(); seq != 32771 {
		t.Errorf("last is %d", seq)
	}
}

func vp8(pic uint16, tl0, key uint8, keyframe bool) []byte {
	b := []byte{0x90, 0xf0, 0x80 | byte(pic>>8), byte(pic), tl0, key & 0x1f, 1, 7, 7}
	if keyframe {
		b[6] = 0
	}
	return b
}

func TestParseVP8(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want VP8
		bad  bool
	}{
		{name: "empty", bad: true},
		{name: "descriptor only", in: []byte{0x10}, bad: true},
		{name: "cut in X", in: []byte{0x90}, bad: true},
		{name: "cut in I", in: []byte{0x90, 0x80}, bad: true},
		{name: "cut in M", in: []byte{0x90, 0x80, 0x81}, bad: true},
		{name: "cut in L", in: []byte{0x90, 0x40}, bad: true},
		{name: "cut in T", in: []byte{0x90, 0x20}, bad: true},
		{name: "plain keyframe", in: []byte{0x10, 0}, want: VP8{Start: true, Keyframe: true, Size: 1}},
		{name: "plain delta", in: []byte{0x10, 1}, want: VP8{Start: true, Size: 1}},
		{name: "continuation", in: []byte{0x00, 0}, want: VP8{Size: 1}},
		{name: "second partition", in: []byte{0x11, 0}, want: VP8{Size: 1}},
		{name: "narrow id", in: []byte{0x90, 0x80, 0x11, 0}, want: VP8{Start: true, Keyframe: true, Size: 3, PictureID: 0x11, picture: 2}},
		{name: "all", in: vp8(0x1234, 9, 5, true), want: VP8{Start: true, Keyframe: true, Size: 6, PictureID: 0x1234, Wide: true,
			TL0: 9, KeyIdx: 5, picture: 2, tl0: 4, tid: 5, hasTID: true, hasKey: true}},
	}
	for _, tt := range tests {
		got, err := ParseVP8(tt.in)
		if (err != nil) != tt.bad || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestPicturesAreContinuous(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 2))
		var p Pictures
		var last VP8
		for stretch := range 4 {
			p.Restart()
			pic, tl0, key := uint16(r.IntN(1<<15)), uint8(r.Uint32()), uint8(r.IntN(32))
			for i := range 1 + r.IntN(40000) {
				in := vp8((pic+uint16(i))&0x7fff, tl0+uint8(i), (key+uint8(i))&0x1f, i == 0)
				d, err := ParseVP8(in)
				if err != nil {
					t.Fatal(err)
				}
				changed := p.Map(&d)
				if stretch == 0 && changed {
					t.Fatal("the first source is changed")
				}
				if (stretch > 0 || i > 0) && (d.PictureID != (last.PictureID+1)&0x7fff || d.TL0 != last.TL0+1 || d.KeyIdx != (last.KeyIdx+1)&0x1f) {
					t.Fatalf("seed %d: %+v follows %+v", seed, d, last)
				}
				out := bytes.Clone(in)
				d.Put(out)
				back, err := ParseVP8(out)
				if err != nil || back != d {
					t.Fatalf("seed %d: written %+v, read %+v", seed, d, back)
				}
				last = d
			}
		}
	}
}

func FuzzParseVP8(f *testing.F) {
	f.Add([]byte{0x10, 0})
	f.Add([]byte{0x90, 0x80, 0x91})
	f.Add(vp8(1, 2, 3, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseVP8(b)
		if err != nil {
			return
		}
		if d.Size < 1 || int(d.Size) >= len(b) {
			t.Fatalf("descriptor of %d bytes in %d", d.Size, len(b))
		}
		out := bytes.Clone(b)
		d.Put(out)
		if !bytes.Equal(out, b) {
			t.Fatalf("unchanged fields change %x to %x", b, out)
		}
		var p Pictures
		p.started, p.fresh = true, true
		p.Map(&d)
		d.Put(out)
		if !bytes.Equal(out[d.Size:], b[d.Size:]) {
			t.Fatal("the payload is changed")
		}
		if back, err := ParseVP8(out); err != nil || back.Size != d.Size || back.PictureID != d.PictureID {
			t.Fatalf("rewritten to %+v, %v, want %+v", back, err, d)
		}
	})
}

func FuzzNumbering(f *testing.F) {
	f.Add([]byte{0, 1, 2, 200, 201, 3, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var n Numbering
		seq := uint16(65530)
		given := map[uint16]uint16{} // of this stretch: source to subscriber
		for _, op := range ops {
			switch op {
			case 255:
				n.Switch(uint32(op))
				clear(given)
				seq += 10000
				continue
			case 254:
				n.Resume()
				clear(given)
				seq += 200
				continue
			}
			seq += uint16(op) - 64
			out, _, ok := n.Next(seq, uint32(seq))
			if !ok {
				continue
			}
			if was, again := given[seq]; again && was != out {
				t.Fatalf("%d was %d and is %d", seq, was, out)
			}
			given[seq] = out
			if src, ok := n.Source(out); !ok || src != seq {
				t.Fatalf("Source(%d) = %d, %v, want %d", out, src, ok, seq)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	var n Numbering
	var p Pictures
	b := vp8(1, 1, 1, false)
	seq := uint16(0)
	if avg := testing.AllocsPerRun(1000, func() {
		seq++
		n.Next(seq, 0)
		d, err := ParseVP8(b)
		if err != nil {
			t.Fatal(err)
		}
		p.Map(&d)
		d.Put(b)
	}); avg != 0 {
		t.Errorf("%v allocations", avg)
	}
}

func BenchmarkRewrite(b *testing.B) {
	var n Numbering
	var p Pictures
	payload := vp8(1, 1, 1, false)
	b.ReportAllocs()
	var seq uint16
	for b.Loop() {
		seq++
		n.Next(seq, uint32(seq))
		d, _ := ParseVP8(payload)
		if p.Map(&d) {
			d.Put(payload)
		}
	}
}
