//go:build linux

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is what the kernel knows as mmsghdr.
type message struct {
	unix.Msghdr
	length uint32
}

// segment is the control message of UDP_SEGMENT.
type segment struct {
	unix.Cmsghdr
	size uint16
	_    [6]byte
}

// point lets the message be of one piece of memory.
func (m *message) point(at *unix.Iovec) {
	m.Iov = at
	m.SetIovlen(1)
}

// split makes the kernel cut the message into so many datagrams of one size.
func (m *message) split(s *segment, size, datagrams int) {
	m.Control, m.Controllen = nil, 0
	if datagrams == 1 {
		return
	}
	s.Level, s.Type, s.size = unix.SOL_UDP, unix.UDP_SEGMENT, uint16(size)
	s.SetLen(unix.CmsgLen(2))
	m.Control = (*byte)(unsafe.Pointer(s))
	m.SetControllen(unix.CmsgSpace(2))
}

// messages sends or receives with one system call, and returns how many.
func messages(call uintptr, fd int, m []message, flags uintptr) (int, error) {
	for {
		n, _, e := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), flags, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}
