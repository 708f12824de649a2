package media

import (
	"net"
	"time"

	"github.com/talkd/talkd/media/udp"
)

// tcpClient is what comes by all TCP connections of one client, read by one
// goroutine. The library asks each of them with requests of its own, never forgets
// one, and hears nothing any more once it was told that one has ended; a client
// whose TCP connection breaks comes back with another.
type tcpClient struct {
	net.PacketConn
	askers udp.Askers
}

// ReadFrom returns what comes, but not from more connections than a client has:
// those are not answered, and end as a stranger's do.
func (c *tcpClient) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		switch {
		case err != nil && from != nil:
			continue // of one connection; of all there is none
		case err == nil && !udp.IsMedia(b[:n]) && !c.askers.Admit(addrPortOf(from), time.Now()):
			continue
		}
		return n, from, err
	}
}
