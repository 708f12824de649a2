package media

import (
	"bytes"
	"slices"
	"testing"
)

func sized(pool *Pool, n int) *Packet {
	p := pool.Get()
	b := p.Buffer()
	clear(b)
	b[0] = 0x80
	for i := rtpHeaderLen; i < n; i++ {
		b[i] = 0xff
	}
	if err := p.Parse(n); err != nil {
		panic(err)
	}
	return p
}

func TestEven(t *testing.T) {
	for _, c := range []struct{ sizes, want []int }{
		{[]int{1000}, []int{1000}},
		{[]int{1000, 1000}, []int{1000, 1000}},
		{[]int{986, 986, 987, 987}, []int{987, 987, 987, 987}},
		{[]int{998, 999, 1000}, []int{1000, 1000, 1000}},
		{[]int{1000, 990}, []int{1000, 990}},                                           // a shorter last one is taken as it is
		{[]int{1000, 1000 + maxPadding}, []int{1000 + maxPadding, 1000 + maxPadding}},  //
		{[]int{1000, 1000 + maxPadding + 1}, []int{1000, 1000 + maxPadding + 1}},       // too much
		{[]int{MaxPacket - 1, MaxPacket}, []int{MaxPacket, MaxPacket}},                 //
		{[]int{1000 - maxPadding, 1000, 1001}, []int{1000 - maxPadding, 1001, 1001}},   // 9 are too much
		{[]int{rtpHeaderLen, rtpHeaderLen + 1}, []int{rtpHeaderLen, rtpHeaderLen + 1}}, // nothing is in it
		{[]int{1000, 500, 501, 1200, 1201}, []int{1000, 501, 501, 1201, 1201}},         // several frames
	} {
		var pool Pool
		var batch []*Packet
		for _, n := range c.sizes {
			batch = append(batch, sized(&pool, n))
		}
		even(batch)
		var got []int
		for i, p := range batch {
			got = append(got, p.payload+len(p.padded()))
			if len(p.Raw()) != c.sizes[i] || bytes.ContainsFunc(p.Payload(), func(r rune) bool { return r == 0 }) {
				t.Errorf("%v: packet %d is another one", c.sizes, i)
			}
			wire := append([]byte{}, p.buf[:p.n+p.padding]...)
			if p.padding > 0 {
				wire[0] |= paddingBit
			}
			again := pool.Get()
			if err := again.Parse(copy(again.Buffer(), wire)); err != nil || !bytes.Equal(again.Payload(), p.Payload()) {
				t.Errorf("%v: packet %d is not read as it was, %v", c.sizes, i, err)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.sizes, got, c.want)
		}
	}
}

// A packet that comes from the pool has nothing of the one before.
func TestPaddingEndsWithThePacket(t *testing.T) {
	var pool Pool
	a := sized(&pool, 100)
	a.pad(3)
	a.Release()
	if b := sized(&pool, 100); b.padding != 0 {
		t.Errorf("%d bytes", b.padding)
	}
}

func BenchmarkEven(b *testing.B) {
	var pool Pool
	var batch []*Packet
	for _, n := range []int{1022, 1022, 1023, 1023} {
		batch = append(batch, sized(&pool, n))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range batch {
			p.padding = 0
		}
		even(batch)
	}
}
