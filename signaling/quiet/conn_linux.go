package quiet

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn gives a TCP connection whose reads and writes the runtime does not hear of;
// any other connection as it is.
func Conn(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c // it is closed
	}
	return &conn{TCPConn: tcp, raw: raw}
}

type conn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (c *conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	waitErr := c.raw.Read(func(fd uintptr) (done bool) {
		n, errno = call(unix.SYS_READ, fd, p)
		return errno != unix.EAGAIN
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (c *conn) Write(p []byte) (n int, err error) {
	var errno syscall.Errno
	waitErr := c.raw.Write(func(fd uintptr) (done bool) {
		for n < len(p) {
			var some int
			if some, errno = call(unix.SYS_WRITE, fd, p[n:]); errno != 0 {
				return errno != unix.EAGAIN
			}
			n += some
		}
		return true
	})
	switch {
	case waitErr != nil:
		return n, waitErr
	case errno != 0:
		return n, c.failed("write", errno)
	}
	return n, nil
}

// Heard tells whether there is something to read, be it the end, of one of these
// connections. Of others, and elsewhere than on Linux, it does not know and is false.
func Heard(c net.Conn) bool {
	q, ok := c.(*conn)
	if !ok {
		return false
	}
	errno := unix.EBADF
	_ = q.raw.Control(func(fd uintptr) { // a closed one has ended
		var b [1]byte
		_, _, errno = unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	})
	return errno != unix.EAGAIN
}

// call reads or writes what can be now.
func call(number, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// failed is the error that the net package would give.
func (c *conn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
