package udp

import (
	"bytes"
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inOwnNetwork gives the test's thread a network of its own, which commands of ip
// set up. Sockets that the test's goroutine opens are in it. It goes with the
// thread, which ends with the goroutine that it is locked to.
func inOwnNetwork(t *testing.T, commands ...string) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip here: apt-get install iproute2")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		runtime.UnlockOSThread()
		t.Skip("a network of its own needs root")
	} else if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, bytes.TrimSpace(out))
		}
	}
}

// What is too large for a route to be joined arrives, each datagram in pieces, and
// what is small enough goes there joined as before.
func TestSmallRoute(t *testing.T) {
	inOwnNetwork(t, "link set lo mtu 1280 up")
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		p := listenFor(t, address, 1)
		r := newReceiver(t, address)
		sizes := []int{1400, 1400, 1400, 700, 1200, 1200, 1200, 100}
		b := p.Burst()
		for range 2 {
			for i, size := range sizes {
				b.addNumber(r.addr, i, size)
			}
			if lost := b.Flush(); lost != 0 {
				t.Errorf("%s: lost %d", address, lost)
			}
			for i, size := range sizes {
				want := make([]byte, size)
				number(want, i)
				if got, _ := r.next(t); !bytes.Equal(got, want) {
					t.Fatalf("%s: datagram %d: %d bytes, want %d", address, i, len(got), size)
				}
			}
		}
		b.Release()
		if apart, large := p.stats.refusals.Load(), p.stats.segments[2].Load(); apart != 2 || large != 2 || !p.joining.allowed(r.addr) {
			t.Errorf("%s: %d messages were sent apart, %d of the small ones joined", address, apart, large)
		}
	}
}

// heldByNeighbour is what the kernel keeps for a neighbour that it looks for, by
// default (net.ipv4.neigh.default.unres_qlen_bytes). It counts against the socket.
const heldByNeighbour = 208 << 10

// Neighbours that are gone hold a part of the socket's buffer each, and as long
// as there is some left nobody else notices.
func TestDeadNeighbours(t *testing.T) {
	inOwnNetwork(t, "link set lo up", "link add v0 type veth peer name v1", "addr add 10.9.9.1/24 dev v0", "link set v0 up", "link set v1 up")
	p := listenFor(t, "0.0.0.0:0", 1)
	r := newReceiver(t, "127.0.0.1:0")
	dead := option(t, p.sockets[0], unix.SOL_SOCKET, unix.SO_SNDBUF) / 2 / heldByNeighbour
	b := p.Burst()
	defer b.Release()
	for n := range 300 {
		for i := range dead {
			b.addNumber(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 9, byte(i + 2)}), 5), n, 1200)
		}
		b.addNumber(r.addr, n, 1200)
		if lost := b.Flush(); lost != 0 {
			t.Fatalf("lost %d with %d dead neighbours", lost, dead)
		}
		if got, _ := r.next(t); len(got) != 1200 {
			t.Fatalf("%d bytes", len(got))
		}
	}
}
