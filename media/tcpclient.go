package media

import (
	"net"
	"net/netip"
	"time"

	"github.com/talkd/talkd/media/udp"
)

// tcpClient is what comes by all TCP connections of one client, read by one
// goroutine. The library asks each of them with requests of its own, never forgets
// one, and hears nothing any more once it was told that one has ended; a client
// whose TCP connection breaks comes back with another.
type tcpClient struct {
	net.PacketConn
	hangUp func(net.Addr) // ends the connection with this address, of those with equal ones
	askers udp.Askers
	of     map[netip.AddrPort]net.Addr // whom the askers are: connections
}

// ReadFrom returns what comes, but not from more connections than a client has:
// those are not answered, and end as a stranger's do. There is room for another one
// from time to time, and the one that was silent for longest ends.
func (c *tcpClient) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		switch {
		case err != nil && from != nil:
			continue // of one connection; of all there is none
		case err == nil && !udp.IsMedia(b[:n]) && !c.admits(from):
			continue
		}
		return n, from, err
	}
}

func (c *tcpClient) admits(from net.Addr) bool {
	at := addrPortOf(from)
	forgotten, ok := c.askers.Admit(at, time.Now())
	if forgotten.IsValid() {
		c.hangUp(c.of[forgotten])
		delete(c.of, forgotten)
	}
	if ok {
		if c.of == nil {
			c.of = map[netip.AddrPort]net.Addr{}
		}
		c.of[at] = from
	}
	return ok
}
