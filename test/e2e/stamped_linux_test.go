package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stamped is a connection that tells when what was read last came to its socket. How
// late a client then is who shares the machine with a hundred others does not count.
type stamped struct {
	*net.TCPConn
	raw     syscall.RawConn
	control [64]byte
	came    time.Duration // since 1970; belongs to the reader
}

// dial opens it.
func (s *stamped) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s.TCPConn = c.(*net.TCPConn)
	if s.raw, err = s.SyscallConn(); err != nil {
		return nil, err
	}
	controlErr := s.raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	return s, errors.Join(controlErr, err)
}

func (s *stamped) Read(p []byte) (n int, err error) {
	var control int
	waitErr := s.raw.Read(func(fd uintptr) bool {
		n, control, _, _, err = unix.Recvmsg(int(fd), p, s.control[:], unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case waitErr != nil:
		return 0, waitErr
	case err != nil:
		return 0, err
	case n == 0 && len(p) > 0:
		return 0, io.EOF
	}
	s.came = time.Duration(time.Now().UnixNano())
	if control > 0 { // the kernel begins to tell a moment after it is asked for
		header, data, _, err := unix.ParseOneSocketControlMessage(s.control[:control])
		if err != nil || header.Type != unix.SCM_TIMESTAMPNS || len(data) < 16 {
			return 0, errors.New("the kernel does not tell when something came")
		}
		seconds, rest := binary.NativeEndian.Uint64(data), binary.NativeEndian.Uint64(data[8:])
		s.came = time.Duration(seconds)*time.Second + time.Duration(rest)
	}
	return n, nil
}
