package load

import (
	"math/rand/v2"
	"net"
	"testing"
)

// Each datagram counts with its headers, at both ends.
func TestTraffic(t *testing.T) {
	open := func() (*counted, *Traffic) {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		traffic := new(Traffic)
		return &counted{PacketConn: conn, traffic: traffic}, traffic
	}
	a, sent := open()
	b, got := open()
	for _, size := range []int{0, 1, 1200} {
		if _, err := a.WriteTo(make([]byte, size), b.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if n, _, err := b.ReadFrom(make([]byte, 1500)); err != nil || n != size {
			t.Fatal(n, err)
		}
	}
	const want = 3*28 + 1201
	if up, down := sent.Bytes(); up != want || down != 0 {
		t.Errorf("sender: %d up, %d down", up, down)
	}
	if up, down := got.Bytes(); up != 0 || down != want {
		t.Errorf("receiver: %d up, %d down", up, down)
	}
}

// A window counts exactly what is within.
func TestSpanBetween(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var s span
	there := map[uint64]bool{}
	for range 2000 {
		n := 1000 + r.Uint64N(3000)
		there[n] = true
		s.add(n)
	}
	for range 200 {
		low := r.Uint64N(5000)
		next := low + r.Uint64N(1000)
		var want uint64
		for n := low; n < next; n++ {
			if there[n] {
				want++
			}
		}
		if got := s.between(low, next); got != want {
			t.Fatalf("from %d to before %d: %d, want %d", low, next, got, want)
		}
	}
	if new(span).between(0, 10) != 0 {
		t.Error("something in nothing")
	}
}
