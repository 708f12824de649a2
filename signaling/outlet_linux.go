package signaling

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is asked of a socket here does not wait. So the runtime is not told of it: that
// costs half as much as the call, and wakes the runtime's monitor whenever the process
// was idle before, which then looks after it every 20 µs for some time.

// rawOf is the socket of a connection, which is open until the connection is closed
// here. Of TLS there is none: its bytes are not those of the frames.
func rawOf(c net.Conn) (raw syscall.RawConn, fd int) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil, 0
	}
	raw, err := socket.SyscallConn()
	if err != nil || raw.Control(func(of uintptr) { fd = int(of) }) != nil {
		return nil, 0
	}
	return raw, fd
}

// sendNow writes as much as the kernel takes at once, which may be nothing.
func sendNow(fd int, p []byte) (int, error) {
	n, errno := callNow(unix.SYS_SENDTO, fd, p)
	if errno == 0 || errno == unix.EAGAIN {
		return n, nil
	}
	return 0, errno
}

// receiveNow reads what has come; if that is nothing it is not done.
func receiveNow(fd int, p []byte) (n int, done bool, err error) {
	n, errno := callNow(unix.SYS_RECVFROM, fd, p)
	switch {
	case errno == unix.EAGAIN:
		return 0, false, nil
	case errno != 0:
		return 0, true, errno
	case n == 0 && len(p) > 0:
		return 0, true, io.EOF
	}
	return n, true, nil
}

func callNow(call uintptr, fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
