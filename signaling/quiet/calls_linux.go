package quiet

import (
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Send writes to a socket as much as the kernel takes at once, which may be nothing.
func Send(fd int, p []byte) (int, error) {
	n, errno := call(unix.SYS_SENDTO, fd, p)
	if errno == 0 || errno == unix.EAGAIN {
		return n, nil
	}
	return 0, errno
}

// Receive reads what has come to a socket; if that is nothing it is not done.
func Receive(fd int, p []byte) (n int, done bool, err error) {
	n, errno := call(unix.SYS_RECVFROM, fd, p)
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

func call(call uintptr, fd int, p []byte) (int, syscall.Errno) {
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
