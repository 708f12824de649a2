package media

import (
	"errors"
	"net"
	"time"
)

// acceptPause is between two attempts to accept a connection when that fails.
const acceptPause = 50 * time.Millisecond

// acceptor is a listener whose errors are its end. The library's mux takes every
// one for that, and there are others: whoever opens very many connections leaves
// the process without files for a while.
type acceptor struct{ net.Listener }

// Accept implements net.Listener.
func (a acceptor) Accept() (net.Conn, error) {
	for {
		c, err := a.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return c, err
		}
		time.Sleep(acceptPause)
	}
}
