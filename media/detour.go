package media

import (
	"net"
	"sync"
	"time"
)

// detourWait is how long the ways by TCP and by a client's TURN server have to wait
// for a direct one by UDP. The side that nominates takes what works first, and keeps
// it as long as it works: one check that is lost must not leave a call on TCP. Several
// checks of both sides have their answer within that time. The direct ways wait for
// nothing: clients are behind routers, and the library would let each of them wait for
// half a second or a second, for an address of their own network that is not reached
// from here.
const detourWait = 500 * time.Millisecond

// detour holds up what a client says by TCP until detourWait after its answer, where
// this node nominates.
type detour struct {
	once sync.Once
	open chan struct{} // closed when it is over
}

func newDetour() *detour { return &detour{open: make(chan struct{})} }

// answered is told of the client's answer, with which checks begin.
func (d *detour) answered() {
	d.once.Do(func() { time.AfterFunc(detourWait, func() { close(d.open) }) })
}

// detourConn is what comes by TCP.
type detourConn struct {
	net.PacketConn
	d      *detour
	once   sync.Once
	closed chan struct{}
}

func (d *detour) hold(c net.PacketConn) net.PacketConn {
	return &detourConn{PacketConn: c, d: d, closed: make(chan struct{})}
}

// ReadFrom implements net.PacketConn.
func (c *detourConn) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-c.d.open:
		return c.PacketConn.ReadFrom(b)
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

// Close implements net.PacketConn.
func (c *detourConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.PacketConn.Close()
}
