package udp

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// arrivals is how one goroutine waits for what comes in to a socket: by an epoll
// descriptor that has the socket alone, and looks for nothing but that. The
// runtime watches the descriptor. A socket itself it would also watch for room to
// send, and be woken by every message that leaves, which is a quarter of what
// sending costs; and a thread that waits in the kernel keeps the runtime's
// monitor awake, which is as much where little is sent.
type arrivals struct {
	socket *socket
	file   *os.File
	raw    syscall.RawConn

	// The argument and the results of try and receive, which are made once: a
	// closure for each call would be allocated.
	headers []mmsghdr
	n       int
	err     error
	try     func(uintptr) bool
	receive func(fd uintptr)
}

func newArrivals(s *socket) (*arrivals, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	err = control(s.raw, func(fd int) error {
		return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN})
	})
	if err == nil {
		err = unix.SetNonblock(epoll, true) // the runtime watches no other
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(epoll))
	}
	a := &arrivals{socket: s, file: os.NewFile(uintptr(epoll), "udp arrivals")}
	a.receive = func(fd uintptr) {
		a.n, a.err = batchCall(unix.SYS_RECVMMSG, fd, a.headers)
	}
	a.try = func(uintptr) bool {
		if s.raw.Control(a.receive) != nil {
			a.n, a.err = 0, net.ErrClosed
		}
		return !errors.Is(a.err, unix.EAGAIN)
	}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// read waits for messages and takes all that are there, at most len(headers). It
// returns net.ErrClosed after close.
func (a *arrivals) read(headers []mmsghdr) (int, error) {
	a.headers = headers
	if a.raw.Read(a.try) != nil {
		return 0, net.ErrClosed
	}
	return a.n, a.err
}

func (a *arrivals) close() error { return a.file.Close() }
