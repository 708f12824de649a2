package media

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// script is a listener that returns what it is told, one after the other.
type script struct {
	net.Listener
	errs []error
}

func (s *script) Accept() (net.Conn, error) {
	err := s.errs[0]
	s.errs = s.errs[1:]
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
	}
	return &net.TCPConn{}, nil
}

// Connections are accepted again after there were no files left, until the
// listener is closed.
func TestAcceptGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := os.NewSyscallError("accept4", syscall.EMFILE)
		a := acceptor{&script{errs: []error{full, full, nil, full, net.ErrClosed}}}
		if c, err := a.Accept(); c == nil || err != nil {
			t.Errorf("accepted %v: %v", c, err)
		}
		if c, err := a.Accept(); c != nil || !errors.Is(err, net.ErrClosed) {
			t.Errorf("accepted %v when closed: %v", c, err)
		}
	})
}
