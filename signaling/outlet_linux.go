package signaling

import (
	"net"
	"syscall"
)

// rawOf is the socket of a connection, which is open until the connection is closed
// here. Of TLS there is none.
func rawOf(c net.Conn) (raw syscall.RawConn, fd int) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return nil, 0
	}
	raw, err := socket.SyscallConn()
	if err != nil || raw.Control(func(of uintptr) { fd = int(of) }) != nil {
		return nil, 0
	}
	return raw, fd
}
