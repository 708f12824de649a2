package signaling

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketOf is the number of the socket of a connection, for as long as that is open.
// Of TLS there is none: its bytes are not those of the frames.
func socketOf(c net.Conn) (fd int) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil || raw.Control(func(of uintptr) { fd = int(of) }) != nil {
		return 0
	}
	return fd
}

// sendNow writes as much as the kernel takes at once, which may be nothing. As it does
// not wait the runtime is not told of it: that costs half as much as the call, and
// wakes the runtime's monitor whenever the process was idle before.
func sendNow(fd int, p []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
