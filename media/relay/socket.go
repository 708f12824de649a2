package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/net/ipv4"
)

const (
	// batchSize is the number of datagrams of one system call.
	batchSize = 64
	// socketBuffer takes a burst of keyframes of some dozen streams. The kernel
	// may grant less.
	socketBuffer = 4 << 20
)

// socket is the UDP socket of the node. write never waits: what the kernel has
// no room for is lost, as on any other hop, and it returns how many datagrams
// went out before the first that failed.
type socket interface {
	read(b []byte) (int, error)
	write(batch []ipv4.Message) (int, error)
	close() error
	addr() net.Addr
}

type udpSocket struct {
	conn  *net.UDPConn
	batch *ipv4.PacketConn // of the same socket; sends to addresses of IPv6, too
}

func listen(ctx context.Context, address string) (*udpSocket, error) {
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: %q is no UDP address", ErrConfig, address), pc.Close())
	}
	_ = conn.SetReadBuffer(socketBuffer)  // a smaller one works as well
	_ = conn.SetWriteBuffer(socketBuffer) // likewise
	return &udpSocket{conn: conn, batch: ipv4.NewPacketConn(conn)}, nil
}

func (s *udpSocket) read(b []byte) (int, error) {
	n, _, err := s.conn.ReadFromUDPAddrPort(b)
	return n, err
}

func (s *udpSocket) write(batch []ipv4.Message) (int, error) {
	n, err := s.batch.WriteBatch(batch, syscall.MSG_DONTWAIT)
	return max(n, 0), err
}

func (s *udpSocket) close() error   { return s.conn.Close() }
func (s *udpSocket) addr() net.Addr { return s.conn.LocalAddr() }

// resolve finds the address of another node's socket.
func resolve(ctx context.Context, hostport string) (*net.UDPAddr, error) {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return net.UDPAddrFromAddrPort(ap), nil
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ips[0].Unmap(), uint16(n))), nil
}
