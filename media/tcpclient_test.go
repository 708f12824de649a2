package media

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// arrival is what a mux of TCP connections returns of one of them.
type arrival struct {
	first byte
	port  int // 0: of none
	err   error
}

// arrivals is a mux that returns what it is told, and then its end.
type arrivals struct {
	net.PacketConn
	left []arrival
	wait time.Duration        // before each
	from map[int]*net.TCPAddr // by port: connections
}

func (a *arrivals) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(a.left) == 0 {
		return 0, nil, io.ErrClosedPipe
	}
	next := a.left[0]
	a.left = a.left[1:]
	time.Sleep(a.wait) // of the bubble
	b[0] = next.first
	if a.from == nil {
		a.from = map[int]*net.TCPAddr{}
	}
	at := a.from[next.port]
	if at == nil {
		at = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(next.port)))
		a.from[next.port] = at
	}
	if next.err != nil {
		return 0, at, next.err
	}
	return 1, at, nil
}

// A client whose TCP connection ends is heard by the next one, until all of it
// ends.
func TestTCPConnectionOfAClientEnds(t *testing.T) {
	c := &tcpClient{PacketConn: &arrivals{left: []arrival{
		{stunFirst, 1, nil}, {0, 1, io.EOF}, {stunFirst, 2, nil}, {0, 2, net.ErrClosed}, {0, 3, io.ErrShortBuffer}, {rtpFirst, 3, nil},
	}}}
	b := make([]byte, 10)
	for _, port := range []int{1, 2, 3} {
		n, from, err := c.ReadFrom(b)
		if err != nil || n != 1 || from.(*net.TCPAddr).Port != port {
			t.Fatalf("%d bytes from %v: %v", n, from, err)
		}
	}
	if _, _, err := c.ReadFrom(b); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("at the end: %v", err)
	}
}

// Of more TCP connections than a client has nothing is heard; those that were
// there go on.
func TestTCPConnectionsOfAClientAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all arrivals
		for port := range 1000 {
			all.left = append(all.left, arrival{stunFirst, port + 1, nil})
		}
		all.left = append(all.left, arrival{stunFirst, 1, nil}, arrival{rtpFirst, 1, nil})
		c := &tcpClient{PacketConn: &all}
		heard := map[int]int{}
		b := make([]byte, 10)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				break
			}
			heard[from.(*net.TCPAddr).Port]++
		}
		if len(heard) > 64 || heard[1] != 3 {
			t.Errorf("heard %d connections, the first %d times", len(heard), heard[1])
		}
	})
}

// Who comes back with one TCP connection after the other, for ever, has no more than
// a client has: the others are ended, but never the one that is in use.
func TestTCPConnectionsOfAClientEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const used, most = 1, 32
		all := arrivals{wait: 6 * time.Second}
		for port := 2; port < 200; port++ {
			all.left = append(all.left, arrival{stunFirst, used, nil}, arrival{stunFirst, port, nil})
		}
		var ended []int
		c := &tcpClient{PacketConn: &all, hangUp: func(of net.Addr) {
			if at := of.(*net.TCPAddr); at == all.from[at.Port] {
				ended = append(ended, at.Port)
			}
		}}
		b := make([]byte, 10)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				break
			}
			if port := from.(*net.TCPAddr).Port; port != used && slices.Contains(ended, port) {
				t.Fatalf("heard %d after its end", port)
			}
		}
		if n := 199 - len(ended); n > most || slices.Contains(ended, used) {
			t.Errorf("%d are there, ended are %v", n, ended)
		}
	})
}
