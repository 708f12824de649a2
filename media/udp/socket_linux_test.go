package udp

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func option(t *testing.T, s *socket, level, name int) int {
	t.Helper()
	var got int
	if err := control(s.raw, func(fd int) (err error) {
		got, err = unix.GetsockoptInt(fd, level, name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// The sockets have the buffers that they want, or as much of them as the kernel
// grants.
func TestSocketBuffers(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	if len(p.sockets) != 2 {
		t.Fatalf("%d sockets", len(p.sockets))
	}
	for limit, name := range map[string]int{"rmem_max": unix.SO_RCVBUF, "wmem_max": unix.SO_SNDBUF} {
		text, err := os.ReadFile("/proc/sys/net/core/" + limit)
		if err != nil {
			t.Skip(err)
		}
		granted, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.sockets {
			// The kernel doubles the value for its own bookkeeping.
			if got, want := option(t, s, unix.SOL_SOCKET, name), 2*min(socketBuffer, granted); got != want {
				t.Errorf("buffer of %d bytes where %s grants %d", got, limit, granted)
			}
		}
	}
}

// Nobody is told when there is room for another message, which is whenever one
// has left.
func TestSocketIsWatchedForArrivalsOnly(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	r := newReceiver(t, "127.0.0.1:0")
	raw, err := r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	watched := watchedFor(t)
	for _, s := range p.sockets {
		events := watched[inode(t, s)]
		if events&unix.EPOLLOUT != 0 || events&unix.EPOLLIN == 0 {
			t.Errorf("watched for %#x", events)
		}
	}
	if watched[inode(t, &socket{raw: raw})]&unix.EPOLLOUT == 0 {
		t.Error("this test does not see what the runtime watches for")
	}
}

// watchedFor are the events that epoll descriptors of the process look for, by
// inode.
func watchedFor(t *testing.T) map[uint64]uint64 {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	watched := map[uint64]uint64{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it was closed meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "tfd:") {
				continue
			}
			watched[hexAfter(t, line, "ino:")] |= hexAfter(t, line, "events:")
		}
	}
	return watched
}

func hexAfter(t *testing.T, line, name string) uint64 {
	t.Helper()
	_, after, _ := strings.Cut(line, name)
	n, err := strconv.ParseUint(strings.Fields(after + " ?")[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func inode(t *testing.T, s *socket) uint64 {
	t.Helper()
	var stat unix.Stat_t
	if err := control(s.raw, func(fd int) error { return unix.Fstat(fd, &stat) }); err != nil {
		t.Fatal(err)
	}
	return stat.Ino
}

// attach gives a socket a filter program.
func attach(t testing.TB, s *socket, name int, program []unix.SockFilter) {
	t.Helper()
	if err := control(s.raw, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, name, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	}); err != nil {
		t.Fatal(err)
	}
}

// It does not matter over which of the sockets the datagrams of a connection
// come in: here requests by one, the rest by the other.
func TestAnySocketReceives(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 2)
	attach(t, p.sockets[0], unix.SO_ATTACH_REUSEPORT_CBPF, []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 1}, // the second byte is the number of the socket
		{Code: unix.BPF_RET | unix.BPF_A},
	})
	r := newReceiver(t, "127.0.0.1:0")
	conn := connFor(t, p, "ours", p.Addr())
	ask := request(t, "ours:theirs") // 00 01
	r.send(t, p, ask)
	wantNext(t, conn, ask, r.addr)
	writeTo(t, conn, success(t), r.addr)
	for _, data := range []string{"\x80\x00 by the first", "\x80\x01 by the second"} {
		r.send(t, p, []byte(data))
		wantNext(t, conn, []byte(data), r.addr)
	}
}

// The kernel really takes several datagrams as one message: a receiver that
// wants them so gets them in one piece.
func TestKernelJoins(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		p := listenFor(t, address, 1)
		if p.joining.off.Load() {
			t.Skip("this kernel does not know UDP_SEGMENT")
		}
		r := newReceiver(t, address)
		raw, err := r.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := control(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) }); err != nil {
			t.Fatal(err)
		}
		b := p.Burst()
		for i := range 8 {
			b.addNumber(r.addr, i, 500-i/7)
		}
		if lost := b.Flush(); lost != 0 {
			t.Errorf("lost %d", lost)
		}
		b.Release()
		if got, _ := r.next(t); len(got) != 7*500+499 {
			t.Errorf("the first piece has %d bytes", len(got))
		}
	}
}

// A socket that takes no messages of several datagrams, as one without
// checksums, sends them one by one.
func TestKernelRefusesToJoin(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	if err := control(p.sockets[0].raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, "127.0.0.1:0")
	for range 2 {
		b := p.Burst()
		for i := range 5 {
			b.addNumber(r.addr, i, 1000)
		}
		if lost := b.Flush(); lost != 0 {
			t.Errorf("lost %d", lost)
		}
		b.Release()
		for range 5 {
			if got, _ := r.next(t); len(got) != 1000 {
				t.Errorf("%d bytes", len(got))
			}
		}
	}
	if n := p.stats.refusals.Load(); n != 1 {
		t.Errorf("%d messages were refused", n)
	}
}

// An address that the socket cannot reach is refused, and nothing else.
func TestAddressOfTheOtherVersion(t *testing.T) {
	p := listenFor(t, "127.0.0.1:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	b := p.Burst()
	defer b.Release()
	for _, to := range []netip.AddrPort{{}, netip.MustParseAddrPort("[2001:db8::1]:5"), r.addr, netip.AddrPortFrom(r.addr.Addr(), 0)} {
		b.addNumber(to, 1, 10)
		b.addNumber(to, 2, 10)
	}
	if lost := b.Flush(); lost != 6 {
		t.Errorf("lost %d", lost)
	}
	for range 2 {
		if got, _ := r.next(t); len(got) != 10 {
			t.Errorf("%d bytes", len(got))
		}
	}
}

// A scope of IPv6 goes to the kernel and comes back.
func TestScope(t *testing.T) {
	for _, text := range []string{"192.0.2.1:7", "[2001:db8::1]:7", "[fe80::1%3]:7", "[::ffff:192.0.2.1]:7"} {
		want := netip.MustParseAddrPort(text)
		for _, dual := range []bool{true, false} {
			var n unix.RawSockaddrInet6
			(&socket{dual: dual}).name(&n, want)
			if got := address(&n); got != canonical(want) {
				t.Errorf("%v became %v", want, got)
			}
		}
	}
}
