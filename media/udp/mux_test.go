package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	pionice "github.com/pion/ice/v4"
	pionstun "github.com/pion/stun/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The WebRTC library takes a Port for its mux, and reads and writes without
// allocating.
var (
	_ pionice.UDPMux               = (*Port)(nil)
	_ pionice.AddrPortReaderWriter = (*handle)(nil)
)

// stun makes a message.
func stun(t testing.TB, kind pionstun.MessageType, user string) []byte {
	t.Helper()
	setters := []pionstun.Setter{pionstun.TransactionID, kind}
	if user != "" {
		setters = append(setters, pionstun.NewSoftware("test"), pionstun.NewUsername(user))
	}
	m, err := pionstun.Build(setters...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func request(t testing.TB, user string) []byte { return stun(t, pionstun.BindingRequest, user) }
func success(t testing.TB) []byte              { return stun(t, pionstun.BindingSuccess, "") }

func connFor(t testing.TB, p *Port, ufrag string, addr netip.AddrPort) net.PacketConn {
	t.Helper()
	c, err := p.GetConn(ufrag, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(10*time.Second, func() { _ = c.Close() })
	t.Cleanup(func() {
		late.Stop()
		_ = c.Close()
	})
	return c
}

func (r receiver) send(t testing.TB, p *Port, b []byte) {
	t.Helper()
	to := p.Addr()
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(r.addr.Addr(), to.Port())
	}
	if _, err := r.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func wantNext(t testing.TB, c net.PacketConn, want []byte, from netip.AddrPort) {
	t.Helper()
	var b [4096]byte
	n, addr, err := c.ReadFrom(b[:])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[:n], want) || addr.String() != from.String() {
		t.Fatalf("%x from %v, want %x from %v", b[:n], addr, want, from)
	}
}

func writeTo(t testing.TB, c net.PacketConn, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteTo(b, net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
}

// A request finds its connection by the user name, all else by the address that
// was answered, by either version of IP and over any socket.
func TestConnection(t *testing.T) {
	for _, c := range []struct{ listen, client string }{
		{"127.0.0.1:0", "127.0.0.1:0"}, {"[::1]:0", "[::1]:0"}, {"[::]:0", "[::1]:0"}, {"[::]:0", "127.0.0.1:0"}, {"0.0.0.0:0", "127.0.0.1:0"},
	} {
		t.Run(c.listen+" "+c.client, func(t *testing.T) {
			p := listenFor(t, c.listen, 4)
			for range 8 { // which socket receives is the kernel's choice by the port
				r := newReceiver(t, c.client)
				ufrag := fmt.Sprint("ours", r.addr.Port())
				conn := connFor(t, p, ufrag, r.addr)
				ask := request(t, ufrag+":theirs")
				r.send(t, p, ask)
				wantNext(t, conn, ask, r.addr)
				answer := success(t)
				writeTo(t, conn, answer, r.addr)
				if got, _ := r.next(t); !bytes.Equal(got, answer) {
					t.Fatalf("answered %x", got)
				}
				r.send(t, p, []byte("\x80media"))
				wantNext(t, conn, []byte("\x80media"), r.addr)
			}
		})
	}
}

// A client that comes from another address is found there once it was answered,
// and still at the old one.
func TestAddressChanges(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	before, after := newReceiver(t, "127.0.0.1:0"), newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	for _, r := range []receiver{before, after} {
		ask := request(t, "ours:theirs")
		r.send(t, p, ask)
		wantNext(t, conn, ask, r.addr)
		writeTo(t, conn, success(t), r.addr)
		for _, from := range []receiver{r, before} {
			from.send(t, p, []byte("data"))
			wantNext(t, conn, []byte("data"), from.addr)
		}
	}
}

// An address belongs to whom it was proven to, not to who names it as his own.
func TestAddressOfAnother(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	thief, owner := connFor(t, p, "thief", p.Addr()), connFor(t, p, "owner", p.Addr())

	writeTo(t, thief, request(t, "x:thief"), r.addr) // checks a candidate that is not his
	ask := request(t, "owner:x")
	r.send(t, p, ask)
	wantNext(t, owner, ask, r.addr)
	writeTo(t, owner, success(t), r.addr)
	r.send(t, p, []byte("first"))
	wantNext(t, owner, []byte("first"), r.addr)

	writeTo(t, thief, request(t, "x:thief"), r.addr)
	r.send(t, p, []byte("second"))
	wantNext(t, owner, []byte("second"), r.addr)

	// The thief writes this address as the sender of requests for himself.
	ask = request(t, "thief:x")
	r.send(t, p, ask)
	wantNext(t, thief, ask, r.addr)
	writeTo(t, thief, success(t), r.addr)
	r.send(t, p, []byte("third"))
	wantNext(t, owner, []byte("third"), r.addr)

	// The same port of a router, given to another client.
	p.mux.byAddress[r.addr].until.Add(-int64(answeredFor))
	writeTo(t, thief, success(t), r.addr)
	r.send(t, p, []byte("fourth"))
	wantNext(t, thief, []byte("fourth"), r.addr)
}

// Answers to a node's own requests come to who asked, before anything is proven.
func TestFirstWriter(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	writeTo(t, conn, request(t, "theirs:ours"), r.addr)
	answer := success(t)
	r.send(t, p, answer)
	wantNext(t, conn, answer, r.addr)
}

// What is of no connection is counted, and harms nobody.
func TestUnknown(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	cut := request(t, "ours:theirs")
	cut = cut[:len(cut)-4]
	for _, b := range [][]byte{
		nil, {0}, []byte("data"), request(t, "others:theirs"), request(t, "ours"), request(t, ""), success(t), cut,
		bytes.Repeat([]byte{1}, maxDatagram+1),
	} {
		r.send(t, p, b)
	}
	ask := request(t, "ours:theirs")
	r.send(t, p, ask)
	wantNext(t, conn, ask, r.addr)
	if n := p.stats.unknown.Load(); n != 9 {
		t.Errorf("%d counted", n)
	}
}

// A connection that does not read loses what comes in, and costs the others
// nothing.
func TestConnectionThatDoesNotRead(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	slow, quick := newReceiver(t, "127.0.0.1:0"), newReceiver(t, "127.0.0.1:0")
	slowConn, conn := connFor(t, p, "slow", p.Addr()), connFor(t, p, "quick", p.Addr())
	writeTo(t, slowConn, success(t), slow.addr)
	writeTo(t, conn, success(t), quick.addr)
	var b [4]byte
	for i := range connQueue + 50 {
		binary.BigEndian.PutUint32(b[:], uint32(i))
		slow.send(t, p, b[:])
		quick.send(t, p, b[:]) // so that the kernel's buffer is empty now and then
		wantNext(t, conn, b[:], quick.addr)
	}
	if n := p.stats.queue.Load(); n != 50 {
		t.Errorf("%d lost", n)
	}
	for i := range connQueue {
		binary.BigEndian.PutUint32(b[:], uint32(i))
		wantNext(t, slowConn, b[:], slow.addr)
	}
}

// Handles of one connection are closed one by one; with the last one its name
// and addresses are free.
func TestHandles(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	first, second := connFor(t, p, "ours", p.Addr()), connFor(t, p, "ours", p.Addr())
	writeTo(t, first, success(t), r.addr)
	p.refused(r.addr, true)

	var ends sync.WaitGroup
	ends.Go(func() {
		if _, _, err := first.ReadFrom(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read of a closed handle: %v", err)
		}
	})
	for range 2 { // the second time is for nothing
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ends.Wait()
	if _, err := first.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(r.addr)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to a closed handle: %v", err)
	}
	r.send(t, p, []byte("data"))
	wantNext(t, second, []byte("data"), r.addr)

	_ = second.Close()
	if len(p.mux.byName) != 0 || len(p.mux.byAddress) != 0 || !p.joining.allowed(r.addr) {
		t.Errorf("left: %d names, %d addresses", len(p.mux.byName), len(p.mux.byAddress))
	}
}

// A name that is removed gets nothing any more, also from addresses that it
// writes to, and may be used anew.
func TestRemove(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	old := connFor(t, p, "ours", p.Addr())
	writeTo(t, old, success(t), r.addr)
	p.RemoveConnByUfrag("ours")
	p.RemoveConnByUfrag("nobody")
	anew := connFor(t, p, "ours", p.Addr())
	writeTo(t, old, success(t), r.addr)
	writeTo(t, anew, request(t, "theirs:ours"), r.addr)
	r.send(t, p, []byte("data"))
	wantNext(t, anew, []byte("data"), r.addr)
	_ = old.Close()
	ask := request(t, "ours:theirs")
	r.send(t, p, ask)
	wantNext(t, anew, ask, r.addr)
}

// A client cannot have as many addresses as it likes.
func TestManyAddresses(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	conn := connFor(t, p, "ours", p.Addr())
	for port := range uint16(3 * maxAddresses) {
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port+1)
		writeTo(t, conn, success(t), to)
		p.joining.refuse(to)
	}
	if n := len(p.mux.byAddress); n != maxAddresses {
		t.Errorf("%d addresses", n)
	}
	if n := len(*p.joining.refusing.Load()); n != maxAddresses {
		t.Errorf("%d addresses to which nothing is joined", n)
	}
	r := newReceiver(t, "127.0.0.1:0")
	writeTo(t, conn, success(t), r.addr)
	r.send(t, p, []byte("data"))
	wantNext(t, conn, []byte("data"), r.addr)
}

// Close ends every read, and nothing begins afterwards.
func TestClose(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	var ends sync.WaitGroup
	for _, ufrag := range []string{"a", "b"} {
		conn := connFor(t, p, ufrag, p.Addr())
		p.RemoveConnByUfrag("b")
		ends.Go(func() {
			if _, _, err := conn.ReadFrom(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("read after the end: %v", err)
			}
		})
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	ends.Wait()
	if _, err := p.GetConn("c", net.UDPAddrFromAddrPort(p.Addr())); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("connection after the end: %v", err)
	}
}

// Connections come and go while others send and receive.
func TestConcurrency(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	var all sync.WaitGroup
	for i := range 8 {
		r := newReceiver(t, "127.0.0.1:0")
		ufrag := string(rune('a' + i))
		all.Go(func() {
			for n := range 50 {
				conn := connFor(t, p, ufrag, p.Addr())
				ask := request(t, ufrag+":theirs")
				r.send(t, p, ask)
				wantNext(t, conn, ask, r.addr)
				writeTo(t, conn, success(t), r.addr)
				r.next(t)
				b := p.Burst()
				for i := range 4 {
					b.addNumber(r.addr, n+i, 100)
				}
				if lost := b.Flush(); lost != 0 {
					t.Errorf("lost %d", lost)
				}
				b.Release()
				for i := range 4 {
					if got, _ := r.next(t); binary.BigEndian.Uint32(got) != uint32(n+i) {
						t.Errorf("got %x, want %d", got, n+i)
					}
				}
				_ = conn.Close()
			}
		})
	}
	all.Wait()
}

// A connection that is written and read allocates nothing but what the race
// detector makes the pools lose.
func TestConnectionAllocatesNothing(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	h := connFor(t, p, "ours", p.Addr()).(*handle)
	data := []byte("data")
	if _, err := h.WriteToAddrPort(data, r.addr); err != nil {
		t.Fatal(err)
	}
	var b [1500]byte
	if n := testing.AllocsPerRun(100, func() {
		_, _ = h.WriteToAddrPort(data, r.addr)
		_, _ = r.WriteToUDPAddrPort(data, p.Addr())
		_, _, _ = h.ReadFromAddrPort(b[:])
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDemux: whatever comes in, nothing panics, and the connection of a request
// is the one that a full reading of the message names.
func FuzzDemux(f *testing.F) {
	f.Add(request(f, "ours:theirs"))
	f.Add(request(f, "ours"))
	f.Add(request(f, ""))
	f.Add(success(f))
	f.Add([]byte("\x80data"))
	f.Add([]byte("\x00\x01\x00\x08\x21\x12\xa4\x42aaaabbbbcccc\x00\x06\x00\x04a:bc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		isSuccess(b)
		var m pionstun.Message
		if !isRequest(b) {
			return
		}
		ufrag, ok := requestFor(b)
		m.Raw = bytes.Clone(b)
		if m.Decode() != nil {
			return // it may be found, as who gets it decodes it as well
		}
		var user pionstun.Username
		if user.GetFrom(&m) != nil {
			if ok {
				t.Fatalf("%q of a request without a name", ufrag)
			}
			return
		}
		want, _, named := bytes.Cut(user, []byte(":"))
		if named = named && len(user) <= maxUserName; named != ok || ok && !bytes.Equal(ufrag, want) {
			t.Fatalf("%q %v, want %q %v", ufrag, ok, want, named)
		}
	})
}
