package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func listenFor(t testing.TB, address string, sockets int) *Port {
	t.Helper()
	p, err := Listen(t.Context(), Config{Address: address, Sockets: sockets})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// receiver is a plain socket of a client.
type receiver struct {
	*net.UDPConn
	addr netip.AddrPort
}

func newReceiver(t testing.TB, address string) receiver {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetReadBuffer(socketBuffer)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return receiver{c, c.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func (r receiver) next(t testing.TB) ([]byte, netip.AddrPort) {
	t.Helper()
	var b [4096]byte
	n, from, err := r.ReadFromUDPAddrPort(b[:])
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b[:n]), from
}

// number makes the i-th datagram of a test.
func number(b []byte, i int) {
	for at := range b {
		b[at] = byte(i + at)
	}
	binary.BigEndian.PutUint32(b, uint32(i))
}

func (b *Burst) addNumber(to netip.AddrPort, i, size int) {
	number(b.Room(size), i)
	b.Add(to, size)
}

// Every receiver gets its datagrams as they were, in order, however they are
// gathered into messages.
func TestBurstArrives(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"} {
		t.Run(address, func(t *testing.T) {
			p := listenFor(t, address, 2)
			to := "127.0.0.1:0"
			if address == "[::1]:0" {
				to = address
			}
			var receivers []receiver
			for range 70 { // more than the messages of one system call
				receivers = append(receivers, newReceiver(t, to))
			}
			sizes := []int{1200, 1200, 1200, 700, 1200, 100, 101, 100, 100, 1200, 1199, 1199, 4}
			b := p.Burst()
			for _, r := range receivers {
				for i, size := range sizes {
					b.addNumber(r.addr, i, size)
				}
			}
			if lost := b.Flush(); lost != 0 {
				t.Errorf("lost %d", lost)
			}
			b.Release()
			for _, r := range receivers {
				for i, size := range sizes {
					want := make([]byte, size)
					number(want, i)
					got, from := r.next(t)
					if !bytes.Equal(got, want) {
						t.Fatalf("datagram %d: %d bytes, want %d", i, len(got), size)
					}
					if from.Port() != p.Addr().Port() {
						t.Fatalf("from %v, not %v", from, p.Addr())
					}
				}
			}
			if n := p.stats.datagrams.Load(); n != uint64(len(receivers)*len(sizes)) {
				t.Errorf("%d datagrams counted", n)
			}
		})
	}
}

// kernel is an outlet that takes what a test lets it take, and remembers it.
type kernel struct {
	refuse func(message) error
	room   bool // after waiting
	waits  int
	got    [][]byte
	counts []int
}

func (k *kernel) send(arena []byte, messages []message) (int, error) {
	for i, m := range messages {
		if err := k.refuse(m); err != nil {
			return i, err
		}
		k.counts = append(k.counts, m.count)
		for at := m.start; at < m.start+m.bytes; at += m.size {
			k.got = append(k.got, bytes.Clone(arena[at:min(at+m.size, m.start+m.bytes)]))
		}
	}
	return len(messages), nil
}

func (k *kernel) wait() bool {
	k.waits++
	return k.room
}

func (k *kernel) burst(t testing.TB) *Burst {
	if k.refuse == nil {
		k.refuse = func(message) error { return nil }
	}
	p := listenFor(t, "127.0.0.1:0", 1)
	p.joining.off.Store(false)
	return &Burst{sockets: p.Sockets, out: k}
}

func (k *kernel) sizes() (sizes []int) {
	for _, b := range k.got {
		sizes = append(sizes, len(b))
	}
	return sizes
}

var (
	alice = netip.MustParseAddrPort("192.0.2.1:1000")
	bob   = netip.MustParseAddrPort("192.0.2.2:1000")
)

// Datagrams of one size to one address are one message, which a shorter one
// ends.
func TestMessages(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes []int
		want  []int // datagrams of each message
	}{
		{"one", []int{1200}, []int{1}},
		{"equal", []int{1200, 1200, 1200}, []int{3}},
		{"shorter at the end", []int{1200, 1200, 5}, []int{3}},
		{"shorter in between", []int{1200, 1100, 1200}, []int{2, 1}},
		{"longer", []int{1100, 1200, 1200}, []int{1, 2}},
		{"rising", []int{1, 2, 3}, []int{1, 1, 1}},
		{"nothing", []int{0}, nil},
		{"nothing in between", []int{1200, 0, 1200}, []int{2}},
		{"small", slices.Repeat([]int{10}, maxSegments+1), []int{maxSegments, 1}},
		{"large", slices.Repeat([]int{1200}, 60), []int{54, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k kernel
			b := k.burst(t)
			for i, size := range c.sizes {
				if size < 4 {
					b.Room(size)
					b.Add(alice, size)
					continue
				}
				b.addNumber(alice, i, size)
			}
			if lost := b.Flush(); lost != 0 {
				t.Errorf("lost %d", lost)
			}
			if diff := cmp.Diff(c.want, k.counts); diff != "" {
				t.Error(diff)
			}
			sent := slices.DeleteFunc(slices.Clone(c.sizes), func(n int) bool { return n == 0 })
			if diff := cmp.Diff(sent, k.sizes(), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// More than the arena or a system call holds goes out in order, whatever is
// left when it is full.
func TestBurstOverflows(t *testing.T) {
	for _, size := range []int{4, 1237, 1500} {
		var k kernel
		b := k.burst(t)
		const count = 1500
		for i := range count {
			to := alice
			if size == 4 && i%2 == 0 { // a message each
				to = bob
			}
			b.addNumber(to, i, size)
		}
		if lost := b.Flush(); lost != 0 {
			t.Errorf("lost %d", lost)
		}
		if len(k.got) != count {
			t.Fatalf("%d datagrams of %d", len(k.got), count)
		}
		want := make([]byte, size)
		for i, got := range k.got {
			if number(want, i); !bytes.Equal(got, want) {
				t.Fatalf("size %d, datagram %d is %x", size, i, got)
			}
		}
	}
}

// Who is first does not wait for the last, and no message is torn for that.
func TestBurstIsSentOnTheWay(t *testing.T) {
	var k kernel
	b := k.burst(t)
	at := 0
	for range 20 {
		for _, to := range []netip.AddrPort{alice, bob} {
			for range 8 {
				b.addNumber(to, at, 1200)
				at++
			}
			b.Spill()
		}
	}
	if waiting := at - len(k.got); waiting > enough/1200+2*8 {
		t.Errorf("%d of %d datagrams wait", waiting, at)
	}
	b.Flush()
	for _, n := range k.counts {
		if n != 8 {
			t.Fatalf("messages of %v", k.counts)
		}
	}
}

// Who adds a batch waits for nothing, however unlike its datagrams are and however
// much the Burst has kept.
func TestAddDoesNotSend(t *testing.T) {
	var k kernel
	b := k.burst(t)
	for i := range maxMessages - 1 {
		b.addNumber(alice, i, 100+i) // growing: a message each
	}
	b.Spill()
	for i := range maxMessages {
		b.addNumber(bob, i, 1400+i)
	}
	if len(k.got) != 0 {
		t.Errorf("%d datagrams were sent", len(k.got))
	}
	b.Spill()
	if n := len(k.got); n != 2*maxMessages-1 {
		t.Errorf("%d datagrams were sent when there was enough", n)
	}
}

// What is not added is not sent.
func TestRoomUnused(t *testing.T) {
	var k kernel
	b := k.burst(t)
	number(b.Room(1000), 1)
	b.addNumber(alice, 2, 500)
	number(b.Room(1000), 3)
	b.Flush()
	want := make([]byte, 500)
	number(want, 2)
	if diff := cmp.Diff([][]byte{want}, k.got); diff != "" {
		t.Error(diff)
	}
}

// A route that does not take datagrams together gets them one by one, at once
// and from then on; others are not concerned.
func TestRouteThatRefusesMessages(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.EINVAL} {
		k := kernel{refuse: func(m message) error {
			if m.to == bob && m.count > 1 {
				return errno
			}
			return nil
		}}
		b := k.burst(t)
		for range 2 {
			for _, to := range []netip.AddrPort{alice, bob, alice} {
				for i := range 3 {
					b.addNumber(to, i, 1000-i/2)
				}
			}
			if lost := b.Flush(); lost != 0 {
				t.Errorf("%v: lost %d", errno, lost)
			}
		}
		if diff := cmp.Diff([]int{3, 1, 1, 1, 3, 3, 1, 1, 1, 3}, k.counts); diff != "" {
			t.Errorf("%v: %s", errno, diff)
		}
		if n := b.sockets.stats.refusals.Load(); n != 1 {
			t.Errorf("%v: %d messages were sent apart", errno, n)
		}
		b.sockets.joining.forget([]netip.AddrPort{bob})
		if !b.sockets.joining.allowed(bob) {
			t.Errorf("%v: an address that is forgotten refuses", errno)
		}
	}
}

// Datagrams that are too large for a route arrive, and are no reason to join no
// others: a publisher could make those of everybody who listens too large. Nor is
// a kernel without memory.
func TestTooLargeToJoin(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		size  int
	}{{syscall.EMSGSIZE, 1480}, {syscall.EMSGSIZE, 600}, {syscall.EINVAL, 1480}, {syscall.ENOBUFS, 600}} {
		k := kernel{refuse: func(m message) error {
			if m.count > 1 && m.size >= c.size {
				return c.errno
			}
			return nil
		}}
		b := k.burst(t)
		for port := range uint16(maxRefusing + 10) {
			to := netip.AddrPortFrom(alice.Addr(), port+1)
			b.addNumber(to, 1, c.size)
			b.addNumber(to, 2, c.size)
		}
		if lost := b.Flush(); lost != 0 || len(k.got) != 2*(maxRefusing+10) {
			t.Errorf("%v: lost %d, sent %d", c.errno, lost, len(k.got))
		}
		k.counts = nil
		to := netip.AddrPortFrom(alice.Addr(), 1)
		b.addNumber(to, 1, 500)
		b.addNumber(to, 2, 500)
		b.Flush()
		if diff := cmp.Diff([]int{2}, k.counts); diff != "" || b.sockets.joining.off.Load() {
			t.Errorf("%v: %s", c.errno, diff)
		}
		if n := b.sockets.stats.refusals.Load(); n != maxRefusing+10 {
			t.Errorf("%v: %d messages were sent apart", c.errno, n)
		}
	}
}

// A route that takes nothing costs two calls, of which the second finds that it
// does not take single datagrams either, and concerns nobody else. In the next
// burst it is tried again.
func TestDeadRoute(t *testing.T) {
	calls, dead := 0, true
	k := kernel{}
	k.refuse = func(m message) error {
		if m.to != bob {
			return nil
		}
		calls++
		if dead {
			return syscall.EHOSTUNREACH
		}
		return nil
	}
	b := k.burst(t)
	for _, to := range []netip.AddrPort{bob, alice} {
		for i := range 6 {
			b.addNumber(to, i, 1000-i)
		}
	}
	if lost := b.Flush(); lost != 6 || calls != 2 {
		t.Errorf("lost %d, %d calls for it", lost, calls)
	}
	if diff := cmp.Diff([]int{2, 2, 2}, k.counts); diff != "" {
		t.Error(diff)
	}
	if !b.sockets.joining.allowed(bob) || b.sockets.stats.refused.Load() != 6 {
		t.Errorf("refused: %d", b.sockets.stats.refused.Load())
	}
	dead = false
	b.addNumber(bob, 1, 100)
	if lost := b.Flush(); lost != 0 {
		t.Error("it is not tried again")
	}
}

// What is too large for a route on its own says nothing of what is smaller, and
// a kernel without memory says nothing of what follows.
func TestRefusedForAReason(t *testing.T) {
	sizes := []int{1400, 1400, 1300, 1400, 1400, 1400, 1200, 1400}
	for errno, want := range map[syscall.Errno]struct{ sent, calls int }{
		syscall.EMSGSIZE: {2, 5}, // the first three, one of them, its last; the next four, their last
		syscall.ENOBUFS:  {2, 10},
	} {
		calls := 0
		k := kernel{refuse: func(m message) error {
			calls++
			if m.size > 1350 {
				return errno
			}
			return nil
		}}
		b := k.burst(t)
		for i, size := range sizes {
			b.addNumber(alice, i, size)
		}
		if lost := b.Flush(); lost != len(sizes)-want.sent || len(k.got) != want.sent || calls != want.calls {
			t.Errorf("%v: lost %d, sent %d by %d calls, want %+v", errno, lost, len(k.got), calls, want)
		}
	}
}

// When too many routes refuse messages, it is not the routes.
func TestMessagesAreGivenUp(t *testing.T) {
	k := kernel{refuse: func(m message) error {
		if m.count > 1 {
			return syscall.EIO
		}
		return nil
	}}
	b := k.burst(t)
	for port := range uint16(maxRefusing + 10) {
		to := netip.AddrPortFrom(alice.Addr(), port+1)
		b.addNumber(to, 1, 100)
		b.addNumber(to, 2, 100)
	}
	if lost := b.Flush(); lost != 0 {
		t.Errorf("lost %d", lost)
	}
	if !b.sockets.joining.off.Load() {
		t.Error("messages are still tried")
	}
	k.counts = nil
	b.addNumber(alice, 1, 100)
	b.addNumber(alice, 2, 100)
	b.Flush()
	if diff := cmp.Diff([]int{1, 1}, k.counts); diff != "" {
		t.Error(diff)
	}
}

// A kernel without room is waited for, and what it has no room for then is lost.
func TestKernelWithoutRoom(t *testing.T) {
	took := 0
	k := kernel{room: true}
	k.refuse = func(message) error {
		if took++; took%2 == 0 {
			return syscall.EAGAIN
		}
		return nil
	}
	b := k.burst(t)
	for i := range 8 {
		b.addNumber(netip.AddrPortFrom(alice.Addr(), uint16(i+1)), i, 100)
	}
	if lost := b.Flush(); lost != 0 || len(k.got) != 8 || k.waits != 7 {
		t.Errorf("lost %d, sent %d, waited %d times", lost, len(k.got), k.waits)
	}

	k.room, k.waits = false, 0
	k.refuse = func(message) error { return syscall.EAGAIN }
	for i := range 8 {
		b.addNumber(alice, i, 100)
	}
	if lost := b.Flush(); lost != 8 || k.waits != 1 || b.sockets.stats.full.Load() != 8 {
		t.Errorf("lost %d, waited %d times", lost, k.waits)
	}
	if lost := b.Flush(); lost != 0 {
		t.Errorf("lost %d of nothing", lost)
	}
}

// Who does not wait keeps what found no room, in its order.
func TestTryFlush(t *testing.T) {
	k := kernel{room: true}
	room := 3
	k.refuse = func(message) error {
		if room--; room < 0 {
			return syscall.EAGAIN
		}
		return nil
	}
	b := k.burst(t)
	for i := range 8 {
		b.addNumber(netip.AddrPortFrom(alice.Addr(), uint16(i+1)), i, 100)
	}
	if b.TryFlush() || len(k.got) != 3 || k.waits != 0 {
		t.Errorf("sent %d, waited %d times", len(k.got), k.waits)
	}
	room = 2
	if b.TryFlush() || len(k.got) != 5 {
		t.Errorf("sent %d", len(k.got))
	}
	room = 8
	b.addNumber(bob, 8, 100)
	if lost := b.Flush(); lost != 0 || len(k.got) != 9 {
		t.Errorf("lost %d, sent %d", lost, len(k.got))
	}
	want := make([]byte, 100)
	for i, got := range k.got {
		if number(want, i); !bytes.Equal(got, want) {
			t.Errorf("datagram %d is %x", i, got)
		}
	}
	b.addNumber(bob, 9, 100)
	if n := b.sockets.stats.datagrams.Load(); !b.TryFlush() || len(k.got) != 10 || n != 9 {
		t.Errorf("sent %d, counted %d before", len(k.got), n)
	}
}

// Who does not wait does not take apart what is refused either: its datagrams may
// find no room.
func TestTryFlushOfRefused(t *testing.T) {
	k := kernel{room: true}
	k.refuse = func(m message) error {
		switch {
		case m.count > 1:
			return syscall.EIO
		case k.waits == 0:
			return syscall.EAGAIN
		}
		return nil
	}
	b := k.burst(t)
	for i := range 3 {
		b.addNumber(alice, i, 100)
	}
	if b.TryFlush() || k.waits != 0 || len(k.got) != 0 {
		t.Errorf("waited %d times, sent %d", k.waits, len(k.got))
	}
	if lost := b.Flush(); lost != 0 || len(k.got) != 3 || b.sockets.stats.refusals.Load() != 1 {
		t.Errorf("lost %d, sent %d", lost, len(k.got))
	}
}

// So it is with a single datagram, whose writer does not learn of it; of what is
// refused it does, and both are counted.
func TestSingleWithoutRoom(t *testing.T) {
	k := kernel{}
	p := listenFor(t, "127.0.0.1:0", 1)
	p.singles.New = func() any { return &single{out: &k} }
	refusals := []error{syscall.EAGAIN, nil}
	k.room = true
	k.refuse = func(message) (err error) {
		err, refusals = refusals[0], refusals[1:]
		return err
	}
	if n, err := p.write([]byte("abc"), alice); n != 3 || err != nil || len(k.got) != 1 || p.stats.single.Load() != 1 {
		t.Errorf("%d, %v, sent %q", n, err, k.got)
	}
	refusals = []error{syscall.EAGAIN, syscall.EAGAIN}
	if n, err := p.write([]byte("abc"), alice); n != 3 || err != nil || p.stats.full.Load() != 1 {
		t.Errorf("%d, %v, %d lost", n, err, p.stats.full.Load())
	}
	refusals = []error{syscall.EPERM}
	if _, err := p.write([]byte("abc"), alice); !errors.Is(err, syscall.EPERM) || k.waits != 2 || p.stats.refused.Load() != 1 {
		t.Errorf("%v, waited %d times", err, k.waits)
	}
}

// A Burst of a port that is closed loses what it has.
func TestBurstAfterClose(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	b := p.Burst()
	for i := range 3 {
		b.addNumber(alice, i, 100)
		b.addNumber(bob, i, 100)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if lost := b.Flush(); lost != 6 {
		t.Errorf("lost %d", lost)
	}
	b.Release()
}

func TestBurstAllocatesNothing(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	b := p.Burst()
	defer b.Release()
	if n := testing.AllocsPerRun(100, func() {
		for i := range 8 {
			b.addNumber(r.addr, i, 1200)
		}
		b.Flush()
	}); n != 0 {
		t.Errorf("%v allocations for a flush", n)
	}
}
