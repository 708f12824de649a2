package rtpbuf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// packet counts its references: one belongs to the test.
type packet struct {
	seq  uint16
	refs atomic.Int32
}

func newPacket(seq uint16) *packet {
	p := &packet{seq: seq}
	p.refs.Store(1)
	return p
}

func (p *packet) Retain() {
	if p.refs.Add(1) <= 1 {
		panic("retained after the last release")
	}
}

func (p *packet) Release() {
	if p.refs.Add(-1) < 0 {
		panic("released too often")
	}
}

// holds checks what Get gives for a number, and that it is retained.
func holds(t *testing.T, r *Ring[*packet], seq uint16, want *packet) {
	t.Helper()
	got, ok := r.Get(seq)
	if got != want || ok != (want != nil) {
		t.Fatalf("Get(%d) gives another packet, %v", seq, ok)
	}
	if ok {
		if got.refs.Load() < 3 {
			t.Fatalf("Get(%d): %d references", seq, got.refs.Load())
		}
		got.Release()
	}
}

func TestSize(t *testing.T) {
	for size, want := range map[int]int{-1: 1, 0: 1, 1: 1, 2: 2, 3: 4, 500: 512, 512: 512, 513: 1024, 1 << 15: 1 << 15, 1<<15 + 1: 1 << 15, 1 << 30: 1 << 15} {
		if got := len(New[*packet](size).slots); got != want {
			t.Errorf("a ring for %d has %d slots, want %d", size, got, want)
		}
	}
}

// Each case puts numbers into a ring of four, one after the other.
func TestPut(t *testing.T) {
	type put struct {
		seq uint16
		new bool
	}
	tests := []struct {
		name string
		puts []put
		has  []uint16
		not  []uint16
	}{
		{"in order", []put{{1, true}, {2, true}, {3, true}}, []uint16{1, 2, 3}, []uint16{0, 4, 5}},
		{"the oldest goes", []put{{1, true}, {2, true}, {3, true}, {4, true}, {5, true}}, []uint16{2, 3, 4, 5}, []uint16{1, 6}},
		{"twice", []put{{7, true}, {7, false}, {8, true}, {7, false}, {8, false}}, []uint16{7, 8}, nil},
		{"late", []put{{10, true}, {13, true}, {11, true}, {12, true}, {11, false}}, []uint16{10, 11, 12, 13}, nil},
		{"too late", []put{{10, true}, {14, true}, {10, false}, {9, false}, {11, true}}, []uint16{11, 14}, []uint16{9, 10, 12, 13}},
		{"before the first", []put{{10, true}, {9, true}, {7, true}, {6, false}}, []uint16{7, 9, 10}, []uint16{6, 8}},
		{"a gap", []put{{1, true}, {2, true}, {4, true}}, []uint16{1, 2, 4}, []uint16{3}},
		{"a gap beyond the ring", []put{{1, true}, {2, true}, {100, true}}, []uint16{100}, []uint16{1, 2, 96, 97, 98, 99}},
		{"across the wrap", []put{{65534, true}, {65535, true}, {0, true}, {1, true}, {2, true}}, []uint16{65535, 0, 1, 2}, []uint16{65534, 3}},
		{"late across the wrap", []put{{65534, true}, {1, true}, {65535, true}, {0, true}, {65535, false}, {65533, false}}, []uint16{65534, 65535, 0, 1}, nil},
		{"half way round is old", []put{{0, true}, {32768, false}, {32769, false}}, []uint16{0}, []uint16{32768}},
		{"almost half way round is new", []put{{0, true}, {32767, true}}, []uint16{32767}, []uint16{0}},
		// The source jumps around once: what it sent 65536 packets ago is not
		// what is sent now.
		{"a whole round in jumps", []put{{5, true}, {30000, true}, {60000, true}, {4, true}, {5, true}}, []uint16{4, 5}, nil},
		{"a whole round, then the number is lost", []put{{5, true}, {30000, true}, {60000, true}, {6, true}}, []uint16{6}, []uint16{5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := New[*packet](4)
			last := map[uint16]*packet{} // the one that was taken
			var all []*packet
			for _, put := range tt.puts {
				p := newPacket(put.seq)
				all = append(all, p)
				if got := r.Put(put.seq, p); got != put.new {
					t.Fatalf("Put(%d) = %v", put.seq, got)
				}
				if put.new {
					last[put.seq] = p
				} else if p.refs.Load() != 1 {
					t.Errorf("a refused packet has %d references", p.refs.Load())
				}
			}
			for _, seq := range tt.has {
				holds(t, r, seq, last[seq])
			}
			for _, seq := range tt.not {
				holds(t, r, seq, nil)
			}
			kept := 0
			for _, p := range all {
				kept += int(p.refs.Load()) - 1
			}
			if kept != len(tt.has) {
				t.Errorf("the ring holds %d references, want %d", kept, len(tt.has))
			}
			r.Clear()
			for _, p := range all {
				if p.refs.Load() != 1 {
					t.Errorf("%d has %d references after Clear", p.seq, p.refs.Load())
				}
			}
		})
	}
}

// What is there from a number on, in order, with a reference each.
func TestSince(t *testing.T) {
	r := New[*packet](8)
	if got := r.Since(0, 8); got != nil {
		t.Errorf("%d of an empty ring", len(got))
	}
	for _, seq := range []uint16{65530, 65533, 65534, 1, 65535} { // 65531, 65532, and 0 are missing
		r.Put(seq, newPacket(seq))
	}
	for _, c := range []struct {
		from uint16
		most int
		want []uint16
	}{
		{65533, 8, []uint16{65533, 65534, 65535, 1}},
		{65533, 5, []uint16{65533, 65534, 65535, 1}},
		{65533, 4, nil},
		{1, 1, []uint16{1}},
		{0, 8, nil},      // missing
		{65529, 99, nil}, // too old
		{2, 8, nil},      // to come
	} {
		var got []uint16
		for _, p := range r.Since(c.from, c.most) {
			got = append(got, p.seq)
			p.Release()
			if p.refs.Load() != 2 {
				t.Errorf("%d has %d references", p.seq, p.refs.Load())
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("Since(%d, %d) = %v, want %v", c.from, c.most, got, c.want)
		}
	}
}

func TestEmptyAndCleared(t *testing.T) {
	r := New[*packet](8)
	holds(t, r, 0, nil)
	r.Clear()
	for seq := range uint16(20) {
		r.Put(seq, newPacket(seq))
	}
	r.Clear()
	for seq := range uint16(20) {
		holds(t, r, seq, nil)
	}
	// It begins anew anywhere, also with lower numbers.
	p := newPacket(3)
	if !r.Put(3, p) {
		t.Fatal("refused after Clear")
	}
	holds(t, r, 3, p)
	holds(t, r, 19, nil)
}

// A source that loses, repeats, reorders and jumps, for several rounds of the
// numbers, against a history that knows the true position of each packet.
func TestRingAgainstHistory(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := 1 << r.IntN(7)
		ring := New[*packet](size)
		history := map[int]*packet{} // by position
		first := int(r.Uint32() & 0xffff)
		last := first - 1
		for step := range 8_000 {
			at := last + 1
			switch dice := r.IntN(100); {
			case step == 0:
			case dice < 10: // lost before it
				at += r.IntN(5)
			case dice < 20: // late or a copy
				at = last - r.IntN(2*size)
			case dice == 20:
				at += r.IntN(32000)
			}
			seq, p := uint16(at), newPacket(uint16(at))
			_, known := history[at]
			want := !known && at > last-size
			if got := ring.Put(seq, p); got != want {
				t.Fatalf("seed %d, step %d: Put(%d), %d behind: %v", seed, step, seq, last-at, got)
			}
			if want {
				history[at] = p
			}
			last = max(last, at)
			for pos, old := range history {
				if pos <= last-size {
					if old.refs.Load() != 1 {
						t.Fatalf("seed %d, step %d: what fell out has %d references", seed, step, old.refs.Load())
					}
					delete(history, pos)
				}
			}
			ask := last - r.IntN(2*size) + r.IntN(3)
			holds(t, ring, uint16(ask), history[ask])
		}
		ring.Clear()
		for _, p := range history {
			if p.refs.Load() != 1 {
				t.Fatalf("seed %d: %d references after Clear", seed, p.refs.Load())
			}
		}
	}
}

// The layer's goroutine writes while others read and one clears. Nobody gets a
// packet that was released for good, or another than asked for.
func TestRingConcurrently(t *testing.T) {
	ring := New[*packet](64)
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		wg.Go(func() {
			for seq := uint16(0); ; seq++ {
				select {
				case <-done:
					return
				default:
				}
				if p, ok := ring.Get(seq); ok {
					if p.seq != seq {
						t.Errorf("Get(%d) gives %d", seq, p.seq)
					}
					p.Release()
				}
			}
		})
	}
	var all []*packet
	for i := range 20_000 {
		p := newPacket(uint16(i))
		ring.Put(p.seq, p)
		p.Release() // the ring's reference is the last
		all = append(all, p)
		if i%1000 == 0 {
			ring.Clear()
		}
	}
	close(done)
	wg.Wait()
	ring.Clear()
	for _, p := range all {
		if n := p.refs.Load(); n != 0 {
			t.Fatalf("%d references are left", n)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	ring := New[*packet](16)
	p := newPacket(0)
	seq := uint16(0)
	if avg := testing.AllocsPerRun(1000, func() {
		seq++
		ring.Put(seq, p)
		if got, ok := ring.Get(seq - 3); ok {
			got.Release()
		}
	}); avg != 0 {
		t.Errorf("%v allocations", avg)
	}
}

func BenchmarkRing(b *testing.B) {
	for _, size := range []int{64, 1024} {
		ring := New[*packet](size)
		p := newPacket(0)
		b.Run(fmt.Sprintf("put_%d", size), func(b *testing.B) {
			b.ReportAllocs()
			var seq uint16
			for b.Loop() {
				seq++
				ring.Put(seq, p)
			}
		})
		b.Run(fmt.Sprintf("get_%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got, ok := ring.Get(ring.last - 5); ok {
					got.Release()
				}
			}
		})
	}
}
