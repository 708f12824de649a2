package media

import (
	"net"

	pionice "github.com/pion/ice/v4"

	"github.com/talkd/talkd/media/udp"
)

// divertedUDP is the node's UDP port as one connection sees it: media goes to its
// Receiver.
type divertedUDP struct {
	*udp.Port
	to udp.Receiver
}

// GetConn implements ice.UDPMux.
func (d divertedUDP) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	c, err := d.Port.GetConn(ufrag, addr)
	if err == nil {
		d.Divert(ufrag, d.to)
	}
	return c, err
}

// divertedTCP is likewise for the TCP mux.
type divertedTCP struct {
	pionice.TCPMux
	to     udp.Receiver
	hangUp func(net.Addr)
}

// GetConnByUfrag implements ice.TCPMux.
func (d divertedTCP) GetConnByUfrag(ufrag string, v6 bool, local net.IP) (net.PacketConn, error) {
	c, err := d.TCPMux.GetConnByUfrag(ufrag, v6, local)
	if err != nil {
		return nil, err
	}
	return &divertedConn{PacketConn: &tcpClient{PacketConn: c, hangUp: d.hangUp}, to: d.to}, nil
}

// divertedConn is read by one goroutine.
type divertedConn struct {
	net.PacketConn
	to  udp.Receiver
	one [1][]byte
}

// ReadFrom returns what is not media.
func (d *divertedConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil || !udp.IsMedia(b[:n]) {
			return n, from, err
		}
		d.one[0] = b[:n]
		d.to.Receive(d.one[:])
	}
}
