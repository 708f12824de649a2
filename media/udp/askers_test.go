package udp

import (
	"net/netip"
	"testing"
	"time"
)

// A connection is asked from as many addresses as a client has, as often as it
// likes, and from others only little by little.
func TestAskers(t *testing.T) {
	var a Askers
	now := time.Now()
	admit := func(at netip.AddrPort, now time.Time) bool {
		_, ok := a.Admit(at, now)
		return ok
	}
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(alice.Addr(), uint16(i)) }
	for range 3 {
		for i := range maxAskers {
			if !admit(at(i), now) {
				t.Fatalf("address %d is refused", i)
			}
		}
	}
	for i := range 1000 {
		if admit(at(maxAskers+i), now.Add(askerEvery-1)) {
			t.Fatalf("address %d is let in", maxAskers+i)
		}
	}
	admitted := 0
	for i := range 1000 {
		if admit(at(maxAskers+i), now.Add(3*askerEvery)) {
			admitted++
		}
	}
	if admitted != 3 || len(a.known) != maxAskers {
		t.Errorf("%d more after three times, %d known", admitted, len(a.known))
	}
	admitted = 0
	for i := range 1000 { // after a long time all of them, not more
		if admit(at(5000+i), now.Add(1000*askerEvery)) {
			admitted++
		}
	}
	if admitted != maxAskers {
		t.Errorf("%d at once after a long time", admitted)
	}
}

// For another address the one is forgotten that was silent for longest.
func TestAskersForget(t *testing.T) {
	var a Askers
	now := time.Now()
	at := func(i int) netip.AddrPort { return netip.AddrPortFrom(alice.Addr(), uint16(i+1)) }
	for i := range maxAskers {
		a.Admit(at(i), now)
	}
	a.Admit(at(0), now)
	for i, want := range []int{1, 2, 3} {
		now = now.Add(askerEvery)
		if forgotten, ok := a.Admit(at(100+i), now); !ok || forgotten != at(want) {
			t.Errorf("%v is forgotten, want %v", forgotten, at(want))
		}
		if forgotten, ok := a.Admit(at(0), now); !ok || forgotten.IsValid() {
			t.Errorf("%v is forgotten for one that is known", forgotten)
		}
	}
}

// Who forges addresses is not answered at all of them. What belongs to the
// connection goes on.
func TestForgedAddresses(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	conn := connFor(t, p, "ours", p.Addr()).(*handle)
	p.mux.own(conn.conn, alice, true)
	d := &dispatcher{port: p}
	ask := request(t, "ours:theirs")
	put := func(from netip.AddrPort) {
		g := p.datagram()
		g.from, g.n = from, copy(g.buf[:], ask)
		d.dispatch([]*datagram{g})
	}
	for i := range 200 {
		put(netip.AddrPortFrom(bob.Addr(), uint16(i+1)))
		put(alice)
	}
	if conn.queued != 200+maxAskers {
		t.Errorf("%d requests were let in", conn.queued)
	}
	if n := p.stats.addresses.Load(); n != 200-maxAskers {
		t.Errorf("%d counted", n)
	}
}
