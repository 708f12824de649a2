package udp

import (
	"bytes"
	"net/netip"
	"testing"
)

// An address that does not answer is left alone after a few requests, and asked
// once more for each message that comes from there. Other addresses have their own
// account.
func TestAllowances(t *testing.T) {
	var a allowances
	spend := func(to netip.AddrPort) (n int) {
		for a.spend(to) {
			n++
		}
		return n
	}
	if n := spend(alice); n != maxUnanswered {
		t.Errorf("%d requests left", n)
	}
	a.earn(alice, minAnswer-1)
	a.earn(bob, minAnswer) // who was not asked
	if n := spend(alice); n != 0 {
		t.Errorf("%d requests left for nothing", n)
	}
	for range 3 {
		a.earn(alice, minAnswer)
	}
	if n := spend(alice); n != 3 {
		t.Errorf("%d requests left for three messages", n)
	}
	for range 100 {
		a.earn(alice, minAnswer)
	}
	if n := spend(alice); n != maxSaved {
		t.Errorf("%d requests left for many messages", n)
	}
	if n := spend(bob); n != maxUnanswered {
		t.Errorf("%d requests left for another", n)
	}
	for i := range 3 * maxAllowances {
		a.spend(netip.AddrPortFrom(alice.Addr(), uint16(i)+1))
	}
	if len(a.of) != maxAllowances {
		t.Errorf("%d addresses are remembered", len(a.of))
	}
}

// What the library asks of an address that is silent is held back, and goes on
// when that speaks. All else leaves.
func TestSilentAddress(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	client := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr()).(*handle)
	ask := append(request(t, "theirs:ours"), make([]byte, minAnswer)...)
	for range maxUnanswered + 5 {
		if n, err := conn.WriteToAddrPort(ask, client.addr); n != len(ask) || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := p.stats.unanswered.Load(); n != 5 {
		t.Errorf("%d requests are held back", n)
	}
	mine := append(request(t, "ours:theirs"), make([]byte, minAnswer)...)
	client.send(t, p, mine)
	wantNext(t, conn, mine, client.addr)
	for _, b := range [][]byte{ask, success(t), []byte("\x16dtls")} {
		if _, err := conn.WriteToAddrPort(b, client.addr); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.stats.unanswered.Load(); n != 5 {
		t.Errorf("%d requests are held back after a sign of life", n)
	}
	for range maxUnanswered + 1 {
		if b, _ := client.next(t); !bytes.Equal(b, ask) {
			t.Fatalf("%x arrives instead of a request", b)
		}
	}
}
