package udp

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// collector is a Receiver that tells a test what came.
type collector struct {
	do   func()
	each chan []string
}

func (c *collector) Receive(packets [][]byte) {
	if c.do != nil {
		c.do()
	}
	var all []string
	for _, p := range packets {
		all = append(all, string(p))
	}
	c.each <- all
}

func packet(text string) []byte { return []byte("\x80\x60 twelve bytes " + text) }

// RTP and RTCP are diverted and nothing else, for both versions of IP, until it ends.
func TestDivert(t *testing.T) {
	p := listenFor(t, "[::]:0", 2)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		r := newReceiver(t, address)
		conn := connFor(t, p, "ours", r.addr)
		got := &collector{each: make(chan []string, 1)}
		if !p.Divert("ours", got) || p.Divert("others", got) {
			t.Error("the name is not known")
		}
		ask := request(t, "ours:theirs")
		r.send(t, p, ask)
		wantNext(t, conn, ask, r.addr)
		writeTo(t, conn, success(t), r.addr)

		r.send(t, p, packet("one"))
		if diff := cmp.Diff([]string{string(packet("one"))}, <-got.each); diff != "" {
			t.Error(diff)
		}
		r.send(t, p, []byte("\x80\xc8 a report of RTCP"))
		if diff := cmp.Diff([]string{"\x80\xc8 a report of RTCP"}, <-got.each); diff != "" {
			t.Error(diff)
		}
		for _, other := range []string{"\x16\xfe\xfd a handshake of DTLS", "\x40 of a TURN channel"} {
			r.send(t, p, []byte(other))
			wantNext(t, conn, []byte(other), r.addr)
		}
		if !p.Divert("ours", nil) {
			t.Error("the name is not known any more")
		}
		r.send(t, p, packet("two"))
		wantNext(t, conn, packet("two"), r.addr)
		_ = conn.Close()
	}
}

// What came together is handed over together, each address by itself, whatever
// came in between, and the rest keeps its way.
func TestWhole(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	conn := connFor(t, p, "ours", p.Addr()).(*handle)
	p.mux.own(conn.conn, alice, true)
	p.mux.own(conn.conn, bob, true)
	got := &collector{each: make(chan []string, 4)}
	p.Divert("ours", got)
	var batch []*datagram
	add := func(from netip.AddrPort, b []byte) {
		d := p.datagram()
		d.from, d.n = from, copy(d.buf[:], b)
		batch = append(batch, d)
	}
	for _, text := range []string{"1", "2", "3"} {
		add(alice, packet(text))
	}
	add(bob, packet("4"))
	add(alice, []byte("other"))
	add(alice, packet("5"))
	add(alice, packet("6"))
	(&dispatcher{port: p}).dispatch(batch)
	for _, want := range [][]string{{"1", "2", "3", "5", "6"}, {"4"}} {
		for i := range want {
			want[i] = string(packet(want[i]))
		}
		if diff := cmp.Diff(want, <-got.each); diff != "" {
			t.Error(diff)
		}
	}
	wantNext(t, conn, []byte("other"), alice)
}

// A receiver may use the port, also while connections come and go.
func TestReceiverUsesThePort(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	r := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	writeTo(t, conn, success(t), r.addr)
	r.next(t)
	got := &collector{each: make(chan []string, 1), do: func() {
		writeTo(t, conn, []byte("asked again"), r.addr)
		p.Divert("others", nil)
	}}
	p.Divert("ours", got)
	var others sync.WaitGroup
	others.Go(func() {
		for range 100 {
			_ = connFor(t, p, "others", p.Addr()).Close()
		}
	})
	for range 100 {
		r.send(t, p, packet("x"))
		<-got.each
		if b, _ := r.next(t); !bytes.Equal(b, []byte("asked again")) {
			t.Errorf("%q", b)
		}
	}
	others.Wait()
}
