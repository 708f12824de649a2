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

// maxRun is how many datagrams are one message, which is at most an IP packet.
const maxRun = 50

// joined is how many packets the kernel takes as one message: they are of one size,
// only the last one may be shorter.
func joined(packets [][]byte) int {
	n := 1
	for n < len(packets) && n < maxRun && len(packets[n]) == len(packets[0]) {
		n++
	}
	if n < len(packets) && n < maxRun && len(packets[n]) < len(packets[0]) {
		n++
	}
	return n
}

// maxPadding is what a packet may grow by to be as long as the one after it.
const maxPadding = 8

// even pads packets (RFC 3550 5.1), each of which has room behind it: a browser's
// differ by a byte, the shorter ones first.
func even(packets [][]byte) {
	for i := len(packets) - 2; i >= 0; i-- {
		p := packets[i]
		n := len(packets[i+1]) - len(p)
		if n <= 0 || n > maxPadding {
			continue
		}
		p[0] |= paddingBit
		p = p[:len(p)+n]
		clear(p[len(p)-n:])
		p[len(p)-1] = byte(n)
		packets[i] = p
	}
}

const paddingBit = 0x20 // in the first byte of an RTP packet

// unpadded is a packet's payload.
func unpadded(packet []byte) []byte {
	end := len(packet)
	if packet[0]&paddingBit != 0 {
		end -= int(packet[end-1])
	}
	return packet[rtpHeader:end]
}

// messages sends or receives with one system call, and returns how many. The
// runtime is told only of calls that wait for long: telling it costs something too.
func messages(call uintptr, fd int, m []message, flags uintptr) (int, error) {
	invoke := unix.RawSyscall6
	if call == unix.SYS_RECVMMSG {
		invoke = unix.Syscall6
	}
	for {
		n, _, e := invoke(call, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), flags, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}
