package udp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is one of the sockets of a Port.
type socket struct {
	file     *os.File // a blocking descriptor, which is what keeps the runtime away
	raw      syscall.RawConn
	arrivals *arrivals
	addr     netip.AddrPort
	dual     bool // of IPv6; addresses of IPv4 are mapped
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
	conn, err := listen(ctx, lc, address)
	if err != nil {
		return nil, err
	}
	s := &socket{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.file, err = takeOver(conn)
	if err != nil {
		return nil, err
	}
	if s.raw, err = s.file.SyscallConn(); err == nil {
		err = control(s.raw, func(fd int) error {
			domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
			s.dual = domain == unix.AF_INET6
			return err
		})
	}
	if err == nil {
		s.arrivals, err = newArrivals(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// takeOver takes the socket from conn, and so from the runtime.
func takeOver(conn *net.UDPConn) (*os.File, error) {
	own := -1
	raw, err := conn.SyscallConn()
	if err == nil {
		err = control(raw, func(fd int) (err error) {
			own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			return err
		})
	}
	_ = conn.Close() // of one of two descriptors
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(own, false); err != nil {
		return nil, errors.Join(err, unix.Close(own))
	}
	return os.NewFile(uintptr(own), "udp"), nil
}

// close lets the reader return.
func (s *socket) close() error { return errors.Join(s.arrivals.close(), s.file.Close()) }

// joins tells whether the kernel takes several datagrams as one message.
func (s *socket) joins() bool {
	return control(s.raw, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		return err
	}) == nil
}

// memInfo is what SO_MEMINFO tells of a socket, as numbers of 32 bits.
const (
	soMemInfo      = 55
	memInfoNumbers = 9
	memInfoDrops   = 8
)

// overflows is how many datagrams found the receive buffer full. It is 0 when
// the socket is closed.
func (s *socket) overflows() uint64 {
	var numbers [memInfoNumbers]uint32
	size := uint32(unsafe.Sizeof(numbers))
	_ = control(s.raw, func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, soMemInfo,
			uintptr(unsafe.Pointer(&numbers)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return uint64(numbers[memInfoDrops])
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	if c.Control(func(fd uintptr) { failed = f(int(fd)) }) != nil {
		return net.ErrClosed
	}
	return failed
}

// reader takes datagrams in from one socket.
type reader struct {
	socket  *socket
	headers [readBatch]mmsghdr
	vectors [readBatch]unix.Iovec
	names   [readBatch]unix.RawSockaddrInet6
}

func newReader(s *socket) *reader {
	r := &reader{socket: s}
	for i := range r.headers {
		h := &r.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
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
	n, err := r.socket.arrivals.read(r.headers[:])
	for i := range n {
		d, h := batch[i], &r.headers[i]
		d.from = address(&r.names[i])
		d.n = int(h.Len)
		if h.Flags&unix.MSG_TRUNC != 0 {
			d.n = 0
		}
	}
	return n, err
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
