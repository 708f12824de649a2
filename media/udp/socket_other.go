//go:build !linux

package udp

import (
	"context"
	"net"
	"net/netip"
)

// shareable: elsewhere one socket does it all, datagram by datagram.
const shareable = false

type socket struct {
	conn *net.UDPConn
	addr netip.AddrPort
}

func open(ctx context.Context, address string, _ bool) (*socket, error) {
	conn, err := listen(ctx, net.ListenConfig{}, address)
	if err != nil {
		return nil, err
	}
	return &socket{conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}, nil
}

func (s *socket) close() error { return s.conn.Close() }

func (s *socket) joins() bool { return false }

// overflows: elsewhere it is not known.
func (s *socket) overflows() uint64 { return 0 }

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

// wait is of no use: send waits by itself.
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

// Reader takes in what comes to one socket. It is for one goroutine.
type Reader struct {
	socket *socket
	buf    [maxMessage]byte
	rest   []byte
}

func newGroupReader(s *socket) *Reader { return &Reader{socket: s} }

// Read waits for datagrams, which Next returns then.
func (r *Reader) Read() error {
	n, _, err := r.socket.conn.ReadFromUDPAddrPort(r.buf[:])
	r.rest = r.buf[:n]
	return err
}

// Next returns the next datagram that was read, until the next Read; nil when
// there is none left.
func (r *Reader) Next() []byte {
	d := r.rest
	r.rest = nil
	return d
}
