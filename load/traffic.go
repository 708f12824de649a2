package load

import (
	"net"
	"sync/atomic"
)

// Traffic counts what sockets of clients send and get, as it is on an Ethernet's
// IP: with the headers of IPv4 and UDP, and with all that is not media.
type Traffic struct {
	up, down atomic.Uint64 // bytes
}

// headerBytes are those of IPv4 and UDP.
const headerBytes = 20 + 8

// Bytes are those so far, as seen from the clients.
func (t *Traffic) Bytes() (up, down uint64) { return t.up.Load(), t.down.Load() }

// counted is a socket whose traffic is counted.
type counted struct {
	net.PacketConn
	traffic *Traffic
}

func (c *counted) ReadFrom(b []byte) (int, net.Addr, error) {
	n, addr, err := c.PacketConn.ReadFrom(b)
	if err == nil {
		c.traffic.down.Add(uint64(n) + headerBytes)
	}
	return n, addr, err
}

func (c *counted) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := c.PacketConn.WriteTo(b, addr)
	if err == nil {
		c.traffic.up.Add(uint64(n) + headerBytes)
	}
	return n, err
}
