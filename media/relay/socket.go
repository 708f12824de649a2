package relay

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media/udp"
)

// socket is the UDP socket of the node, one for all its relays: what comes from
// another node comes by one pair of addresses, which the kernel would give to
// the same one of several sockets anyhow.
type socket interface {
	burst() burst
	// read waits for frames, which next returns then: each until the next read,
	// and nil when there is none left.
	read() error
	next() []byte
	// sent is what the kernel took.
	sent() (frames, bytes uint64)
	addr() netip.AddrPort
	close() error
}

// burst gathers frames that go out together; see udp.Burst.
type burst interface {
	Room(size int) []byte
	Add(to netip.AddrPort, n int)
	Flush() (lost int)
	Release()
}

type udpSocket struct {
	sockets *udp.Sockets
	reader  *udp.Reader
}

func listen(ctx context.Context, address string, log *slog.Logger, r prometheus.Registerer) (*udpSocket, error) {
	s, err := udp.Open(ctx, "relay", udp.Config{Address: address, Sockets: 1, Logger: log, Registerer: r})
	if err != nil {
		return nil, err
	}
	return &udpSocket{sockets: s, reader: s.Readers()[0]}, nil
}

func (s *udpSocket) burst() burst                 { return s.sockets.Burst() }
func (s *udpSocket) read() error                  { return s.reader.Read() }
func (s *udpSocket) next() []byte                 { return s.reader.Next() }
func (s *udpSocket) sent() (frames, bytes uint64) { return s.sockets.Sent() }
func (s *udpSocket) addr() netip.AddrPort         { return s.sockets.Addr() }
func (s *udpSocket) close() error                 { return s.sockets.Close() }

// resolve finds the address of another node's socket.
func resolve(ctx context.Context, hostport string) (netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(hostport); err == nil {
		return ap, nil
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(n)), nil
}
