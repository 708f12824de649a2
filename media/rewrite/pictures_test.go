package rewrite

import (
	"bytes"
	"testing"
)

// descriptor builds a payload with the fields that are wanted; -1 means none.
func descriptor(pic int, wide bool, tl0, tid, key int) []byte {
	x := byte(0)
	var rest []byte
	if pic >= 0 {
		x |= 0x80
		if wide {
			rest = append(rest, 0x80|byte(pic>>8), byte(pic))
		} else {
			rest = append(rest, byte(pic)&0x7f)
		}
	}
	if tl0 >= 0 {
		x |= 0x40
		rest = append(rest, byte(tl0))
	}
	if tid >= 0 || key >= 0 {
		b := byte(0)
		if tid >= 0 {
			x |= 0x20
			b |= byte(tid)<<6 | 0x20
		}
		if key >= 0 {
			x |= 0x10
			b |= byte(key)
		}
		rest = append(rest, b)
	}
	return append(append([]byte{0x90, x}, rest...), 0x01, 0xaa)
}

func parsed(t testing.TB, b []byte) VP8 {
	t.Helper()
	d, err := ParseVP8(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return d
}

// Each case maps descriptors one after the other; "restart" is between those
// of two sources.
func TestPictures(t *testing.T) {
	const restart = "restart"
	wide := func(pic, tl0, key int) []byte { return descriptor(pic, true, tl0, 0, key) }
	narrow := func(pic int) []byte { return descriptor(pic, false, -1, -1, -1) }
	tests := []struct {
		name string
		in   []any // []byte or restart
		want [][]byte
	}{
		{"the first source is untouched", []any{wide(5, 1, 2), wide(900, 77, 9), wide(4, 0, 1)},
			[][]byte{wide(5, 1, 2), wide(900, 77, 9), wide(4, 0, 1)}},
		{"restart before the first", []any{restart, wide(5, 1, 2)}, [][]byte{wide(5, 1, 2)}},
		{"the next one follows", []any{wide(5, 1, 2), restart, wide(900, 77, 9), wide(901, 78, 9)},
			[][]byte{wide(5, 1, 2), wide(6, 2, 3), wide(7, 3, 3)}},
		{"packets of one picture", []any{wide(5, 1, 2), restart, wide(9, 9, 9), wide(9, 9, 9), wide(10, 10, 10)},
			[][]byte{wide(5, 1, 2), wide(6, 2, 3), wide(6, 2, 3), wide(7, 3, 4)}},
		{"late packets keep their place", []any{wide(5, 1, 2), wide(7, 3, 4), wide(6, 2, 3), restart, wide(100, 100, 10)},
			[][]byte{wide(5, 1, 2), wide(7, 3, 4), wide(6, 2, 3), wide(8, 4, 5)}},
		{"the subscriber's numbers wrap", []any{wide(0x7fff, 255, 31), restart, wide(100, 100, 10)},
			[][]byte{wide(0x7fff, 255, 31), wide(0, 0, 0)}},
		{"the source's numbers wrap", []any{wide(5, 1, 2), restart, wide(0x7fff, 255, 31), wide(0, 0, 0)},
			[][]byte{wide(5, 1, 2), wide(6, 2, 3), wide(7, 3, 4)}},
		{"wrapped, and then the next source", []any{wide(0x7fff, 255, 31), wide(0, 0, 0), restart, wide(9, 9, 9)},
			[][]byte{wide(0x7fff, 255, 31), wide(0, 0, 0), wide(1, 1, 1)}},
		{"narrow ids", []any{narrow(0x7f), narrow(0), restart, narrow(50), narrow(51)},
			[][]byte{narrow(0x7f), narrow(0), narrow(1), narrow(2)}},
		{"restart twice is once", []any{wide(5, 1, 2), restart, restart, wide(9, 9, 9)}, [][]byte{wide(5, 1, 2), wide(6, 2, 3)}},
		{"three sources", []any{wide(5, 1, 2), restart, wide(900, 77, 9), restart, wide(3, 200, 30)},
			[][]byte{wide(5, 1, 2), wide(6, 2, 3), wide(7, 3, 4)}},
		{"nothing to rewrite", []any{[]byte{0x10, 0}, restart, []byte{0x10, 1}, []byte{0, 2}}, [][]byte{{0x10, 0}, {0x10, 1}, {0, 2}}},
		{"a temporal layer without key index", []any{descriptor(1, true, 1, 2, -1), restart, descriptor(8, true, 8, 1, -1)},
			[][]byte{descriptor(1, true, 1, 2, -1), descriptor(2, true, 2, 1, -1)}},
		{"a packet without fields between others", []any{wide(5, 200, 2), []byte{0x10, 0}, restart, wide(9, 9, 9)},
			[][]byte{wide(5, 200, 2), {0x10, 0}, wide(6, 201, 3)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Pictures
			i := 0
			for _, step := range tt.in {
				in, ok := step.([]byte)
				if !ok {
					p.Restart()
					continue
				}
				d := parsed(t, in)
				again := d
				out := bytes.Clone(in)
				changed := p.Map(&d)
				if changed {
					d.Put(out)
				}
				if !bytes.Equal(out, tt.want[i]) {
					t.Fatalf("packet %d becomes %x, want %x", i, out, tt.want[i])
				}
				// Sent again it is the same.
				out = bytes.Clone(in)
				if p.Again(&again) != changed || again != d {
					t.Errorf("packet %d again: %+v, want %+v", i, again, d)
				}
				again.Put(out)
				if !bytes.Equal(out, tt.want[i]) {
					t.Errorf("packet %d again becomes %x", i, out)
				}
				i++
			}
		})
	}
}

func TestVP8Fields(t *testing.T) {
	tests := []struct {
		b                     []byte
		picture, temporal     bool
		start, keyframe, sync bool
		tid                   uint8
	}{
		{[]byte{0x10, 0x00}, false, false, true, true, false, 0},
		{[]byte{0x10, 0x01}, false, false, true, false, false, 0},
		{[]byte{0x00, 0x00}, false, false, false, false, false, 0},
		{[]byte{0x13, 0x00}, false, false, false, false, false, 0},
		{descriptor(1, false, -1, -1, -1), true, false, true, false, false, 0},
		{descriptor(0, true, 3, 2, 1), true, true, true, false, true, 2},
		{descriptor(-1, false, -1, 1, -1), false, true, true, false, true, 1},
		{descriptor(-1, false, -1, -1, 7), false, false, true, false, false, 0},
	}
	for _, tt := range tests {
		d := parsed(t, tt.b)
		if d.HasPicture() != tt.picture || d.HasTemporal() != tt.temporal || d.Start != tt.start ||
			d.Keyframe != tt.keyframe || d.Sync != tt.sync || d.TID != tt.tid || int(d.Size) != len(tt.b)-1 && int(d.Size) != len(tt.b)-2 {
			t.Errorf("%x: %+v", tt.b, d)
		}
	}
}
