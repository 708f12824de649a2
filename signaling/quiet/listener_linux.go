package quiet

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener takes a TCP listener over: the runtime hears neither of who comes nor of what
// they read and write. Its connections are kept alive and send without delay, as those of
// the net package. Any other listener is given as it is.
func Listener(l net.Listener) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	// That of the net package lets nobody else wait for who comes.
	file, err := tcp.File()
	if err != nil {
		return l
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return l
	}
	_ = tcp.Close() // one of two names
	return &listener{file: file, raw: raw, at: tcp.Addr()}
}

type listener struct {
	file   *os.File
	raw    syscall.RawConn
	at     net.Addr
	closed atomic.Bool
}

func (l *listener) Addr() net.Addr { return l.at }

func (l *listener) Close() error {
	if l.closed.Swap(true) {
		return l.failed("close", net.ErrClosed)
	}
	return l.failed("close", l.file.Close())
}

func (l *listener) failed(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case l.closed.Load():
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: l.at, Err: err}
}

// Accept waits for who comes. Errors that pass, such as that there are too many files
// open, are Temporary.
func (l *listener) Accept() (net.Conn, error) {
	var (
		fd    int
		from  unix.RawSockaddrAny
		errno syscall.Errno
	)
	waitErr := l.raw.Read(func(at uintptr) bool {
		fd, errno = accept(int(at), &from)
		return errno != unix.EAGAIN
	})
	if err := cmp.Or(waitErr, os.NewSyscallError("accept4", orNil(errno))); err != nil {
		return nil, l.failed("accept", err)
	}
	for _, o := range [...]struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	} {
		value := int32(o.value)
		_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(o.level), uintptr(o.name),
			uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0) // net does not look at the errors either
	}
	// The descriptor does not block, so that the file waits as a socket does.
	c := &accepted{file: os.NewFile(uintptr(fd), "tcp"), remote: tcpAddr(&from)}
	var err error
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, l.failed("accept", err)
	}
	return c, nil
}

// As the net package has them, in seconds.
const keepAlive, keepAliveCount = 15, 9

func accept(at int, from *unix.RawSockaddrAny) (int, syscall.Errno) {
	for {
		size := uint32(unix.SizeofSockaddrAny)
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(at), uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)),
			unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
			return int(fd), 0
		case unix.EINTR, unix.ECONNABORTED: // who hung up before is nobody's matter
		default:
			return -1, errno
		}
	}
}

func orNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// tcpAddr is an address as the kernel has it; nil if it is of another kind.
func tcpAddr(a *unix.RawSockaddrAny) *net.TCPAddr {
	port := func(p *uint16) int { b := (*[2]byte)(unsafe.Pointer(p)); return int(b[0])<<8 | int(b[1]) }
	switch a.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return &net.TCPAddr{IP: append(net.IP(nil), in.Addr[:]...), Port: port(&in.Port)}
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(a))
		to := &net.TCPAddr{IP: append(net.IP(nil), in.Addr[:]...), Port: port(&in.Port)}
		if in.Scope_id != 0 {
			if i, err := net.InterfaceByIndex(int(in.Scope_id)); err == nil {
				to.Zone = i.Name
			}
		}
		return to
	}
	return nil
}

// accepted is a connection that a listener gave. The net package has no way to take a
// descriptor over without another name for it.
type accepted struct {
	file   *os.File
	raw    syscall.RawConn
	remote *net.TCPAddr
	closed atomic.Bool
}

func (c *accepted) Read(p []byte) (int, error) {
	n, err := receive(c.raw, p)
	return n, c.failed("read", err)
}

func (c *accepted) Write(p []byte) (int, error) {
	n, err := send(c.raw, p)
	return n, c.failed("write", err)
}

// CloseWrite tells the other end that nothing more comes.
func (c *accepted) CloseWrite() error {
	var errno syscall.Errno
	controlErr := c.raw.Control(func(fd uintptr) {
		_, _, errno = unix.RawSyscall(unix.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0)
	})
	return c.failed("close", cmp.Or(controlErr, orNil(errno)))
}

// SetLinger is as that of net.TCPConn: with 0 seconds, what has not been sent when the
// connection is closed is dropped.
func (c *accepted) SetLinger(sec int) error {
	linger := unix.Linger{Onoff: 1, Linger: int32(max(sec, 0))}
	if sec < 0 {
		linger.Onoff = 0
	}
	var err error
	controlErr := c.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &linger)
	})
	return c.failed("set", cmp.Or(controlErr, err))
}

func (c *accepted) Close() error {
	if c.closed.Swap(true) {
		return c.failed("close", net.ErrClosed)
	}
	return c.failed("close", c.file.Close())
}

func (c *accepted) SetDeadline(t time.Time) error { return c.failed("set", c.file.SetDeadline(t)) }
func (c *accepted) SetReadDeadline(t time.Time) error {
	return c.failed("set", c.file.SetReadDeadline(t))
}
func (c *accepted) SetWriteDeadline(t time.Time) error {
	return c.failed("set", c.file.SetWriteDeadline(t))
}

func (c *accepted) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

func (c *accepted) RemoteAddr() net.Addr { return c.remote }

func (c *accepted) LocalAddr() net.Addr {
	var at unix.RawSockaddrAny
	_ = c.raw.Control(func(fd uintptr) { // a closed one is nowhere
		size := uint32(unix.SizeofSockaddrAny)
		_, _, _ = unix.RawSyscall(unix.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)))
	})
	if a := tcpAddr(&at); a != nil {
		return a
	}
	return &net.TCPAddr{}
}

// failed is the error that the net package would give.
func (c *accepted) failed(op string, err error) error {
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return err
	case c.closed.Load():
		err = net.ErrClosed // of a file it has another name
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = os.ErrDeadlineExceeded // the file may have said its name
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.remote, Err: err}
}
