package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	Len uint32
}

// segmentOption is the control message that tells the kernel the size of the
// datagrams of a message (UDP_SEGMENT). It is a struct, so that it is aligned.
type segmentOption struct {
	header unix.Cmsghdr
	size   uint16
	_      [unix.SizeofPtr - 2]byte
}

// batchOutlet sends by sendmmsg. What is the same for every message is written
// once.
type batchOutlet struct {
	socket  *socket
	headers [maxMessages]mmsghdr
	vectors [maxMessages]unix.Iovec
	names   [maxMessages]unix.RawSockaddrInet6 // or Inet4, which is shorter
	options [maxMessages]segmentOption

	// The arguments and results of try, which is made once: a closure for each
	// call would be allocated.
	n   int
	err error
	try func(fd uintptr)
}

func newOutlet(s *socket) outlet {
	o := &batchOutlet{socket: s}
	for i := range o.headers {
		h := &o.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&o.names[i]))
		h.Iov = &o.vectors[i]
		h.SetIovlen(1)
		c := &o.options[i].header
		c.Level, c.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
	}
	o.try = o.sendmmsg
	return o
}

func (o *batchOutlet) send(arena []byte, messages []message) (int, error) {
	for i := range messages {
		o.describe(i, arena, &messages[i])
	}
	o.n = len(messages)
	if o.socket.raw.Control(o.try) != nil {
		return 0, net.ErrClosed
	}
	return o.n, o.err
}

func (o *batchOutlet) sendmmsg(fd uintptr) {
	o.n, o.err = batchCall(unix.SYS_SENDMMSG, fd, o.headers[:o.n])
}

// batchCall is sendmmsg or recvmmsg, told not to wait. So the runtime is not told
// of it either: that would wake its monitor whenever the process was idle before,
// which costs as much as a message to send.
func batchCall(call, fd uintptr, headers []mmsghdr) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, unix.EAGAIN // as a constant: it is the usual one, and this allocates nothing
		default:
			return 0, errno
		}
	}
}

// wait blocks a thread rather than the socket: single datagrams, and who finds
// room, pass by.
func (o *batchOutlet) wait() bool {
	return control(o.socket.raw, func(fd int) error {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(patience.Milliseconds()))
		if err == nil && n == 0 {
			return unix.EAGAIN
		}
		return err
	}) == nil
}

func (o *batchOutlet) describe(i int, arena []byte, m *message) {
	h := &o.headers[i]
	h.Namelen = o.socket.name(&o.names[i], m.to)
	o.vectors[i].Base = &arena[m.start]
	o.vectors[i].SetLen(m.bytes)
	if m.count == 1 {
		h.Control = nil
		h.SetControllen(0)
		return
	}
	o.options[i].size = uint16(m.size)
	h.Control = (*byte)(unsafe.Pointer(&o.options[i]))
	h.SetControllen(unix.CmsgSpace(2))
}

// name writes an address as the kernel wants it, and returns its length. An
// address that is of no use for the socket is refused by the kernel.
func (s *socket) name(to *unix.RawSockaddrInet6, a netip.AddrPort) uint32 {
	ip := a.Addr()
	if !s.dual && (ip.Is4() || ip.Is4In6()) {
		n := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		n.Family = unix.AF_INET
		n.Port = bigEndian(a.Port())
		n.Addr = ip.Unmap().As4()
		return unix.SizeofSockaddrInet4
	}
	to.Family = unix.AF_INET6
	to.Port = bigEndian(a.Port())
	to.Addr = ip.As16()
	to.Scope_id = 0
	if zone := ip.Zone(); zone != "" {
		to.Scope_id = scope(zone)
	}
	return unix.SizeofSockaddrInet6
}

func bigEndian(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// scope is the number of an interface. Zones of received addresses are numbers.
func scope(zone string) uint32 {
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
