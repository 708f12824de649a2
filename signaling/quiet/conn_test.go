package quiet_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/talkd/talkd/signaling/quiet"
)

// TestConn: it is as any connection. One end is one of the net package.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		defer func() { _ = l.Close() }()
		if c1, err = new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
			return nil, nil, nil, err
		}
		if c2, err = l.Accept(); err != nil {
			return nil, nil, nil, err
		}
		return quiet.Conn(c1), c2, func() { _, _ = c1.Close(), c2.Close() }, nil
	})
}
