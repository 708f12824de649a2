package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is one of the sockets of a Port.
type socket struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	dual bool // of IPv6; addresses of IPv4 are mapped
}

// shareable tells whether several sockets can have one port, among which the
// kernel distributes what comes in.
const shareable = true

// open makes a socket. A shared one may have the same address as others that
// are.
func open(ctx context.Context, address string, shared bool) (*socket, error) {
	lc := net.ListenConfig{}
	if shared {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		}
	}
	pc, err := lc.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%q is no UDP address", address), pc.Close())
	}
	s := &socket{conn: conn}
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = control(s.raw, func(fd int) error {
			domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
			s.dual = domain == unix.AF_INET6
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// joins tells whether the kernel takes several datagrams as one message.
func (s *socket) joins() bool {
	return control(s.raw, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		return err
	}) == nil
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// reader takes datagrams in from one socket.
type reader struct {
	socket  *socket
	headers [readBatch]mmsghdr
	vectors [readBatch]unix.Iovec
	names   [readBatch]unix.RawSockaddrInet6

	// The results of try, which is made once.
	n   int
	err error
	try func(fd uintptr) bool
}

func newReader(s *socket) *reader {
	r := &reader{socket: s}
	for i := range r.headers {
		h := &r.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
	}
	r.try = func(fd uintptr) bool {
		r.n, r.err = batchCall(unix.SYS_RECVMMSG, fd, r.headers[:])
		return r.err != unix.EAGAIN //nolint:errorlint // batchCall returns it as it is
	}
	return r
}

// read waits for datagrams and takes all that are there, at most len(batch).
// Those that are cut short have the length 0.
func (r *reader) read(batch *[readBatch]*datagram) (int, error) {
	for i, d := range batch {
		r.vectors[i].Base = &d.buf[0]
		r.vectors[i].SetLen(len(d.buf))
		r.headers[i].Namelen = unix.SizeofSockaddrInet6
	}
	if err := r.socket.raw.Read(r.try); err != nil {
		return 0, err
	}
	for i := range r.n {
		d, h := batch[i], &r.headers[i]
		d.from = address(&r.names[i])
		d.n = int(h.Len)
		if h.Flags&unix.MSG_TRUNC != 0 {
			d.n = 0
		}
	}
	return r.n, r.err
}

// address reads what the kernel wrote; one of IPv4 is one of IPv4 in any case.
func address(from *unix.RawSockaddrInet6) netip.AddrPort {
	switch from.Family {
	case unix.AF_INET:
		n := (*unix.RawSockaddrInet4)(unsafe.Pointer(from))
		return netip.AddrPortFrom(netip.AddrFrom4(n.Addr), bigEndian(n.Port))
	case unix.AF_INET6:
		ip := netip.AddrFrom16(from.Addr).Unmap()
		if from.Scope_id != 0 && ip.IsLinkLocalUnicast() {
			ip = ip.WithZone(strconv.FormatUint(uint64(from.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, bigEndian(from.Port))
	}
	return netip.AddrPort{}
}
