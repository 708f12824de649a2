//go:build !linux

package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// shareable: elsewhere one socket does it all, datagram by datagram.
const shareable = false

type socket struct {
	conn *net.UDPConn
}

func open(ctx context.Context, address string, _ bool) (*socket, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%q is no UDP address", address), pc.Close())
	}
	return &socket{conn: conn}, nil
}

func (s *socket) joins() bool { return false }

type plainOutlet struct{ socket *socket }

func newOutlet(s *socket) outlet { return plainOutlet{s} }

func (o plainOutlet) send(arena []byte, messages []message) (int, error) {
	for i, m := range messages {
		if _, err := o.socket.conn.WriteToUDPAddrPort(arena[m.start:m.start+m.bytes], m.to); err != nil {
			return i, err
		}
	}
	return len(messages), nil
}

func (plainOutlet) wait() bool { return false }

type reader struct{ socket *socket }

func newReader(s *socket) *reader { return &reader{s} }

func (r *reader) read(batch *[readBatch]*datagram) (int, error) {
	d := batch[0]
	n, from, err := r.socket.conn.ReadFromUDPAddrPort(d.buf[:])
	if err != nil {
		return 0, err
	}
	d.from, d.n = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), n
	return 1, nil
}
