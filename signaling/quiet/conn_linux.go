package quiet

import (
	"cmp"
	"errors"
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

func (c *conn) Read(p []byte) (int, error) {
	n, err := receive(c.raw, p)
	return n, c.failed("read", err)
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := send(c.raw, p)
	return n, c.failed("write", err)
}

// receive waits until something has come.
func receive(raw syscall.RawConn, p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	waitErr := raw.Read(func(fd uintptr) (done bool) {
		n, done, err = Receive(int(fd), p)
		return done
	})
	return n, cmp.Or(waitErr, err)
}

// send waits until all has gone.
func send(raw syscall.RawConn, p []byte) (n int, err error) {
	waitErr := raw.Write(func(fd uintptr) (done bool) {
		for some := 1; some > 0 && n < len(p); n += some {
			if some, err = Send(int(fd), p[n:]); err != nil {
				return true
			}
		}
		return n == len(p)
	})
	return n, cmp.Or(waitErr, err)
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

// failed is the error that the net package would give.
func (c *conn) failed(op string, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
