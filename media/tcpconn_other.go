//go:build !linux

package media

import "net"

// tcpBuffer is what the kernel takes of what it cannot send yet.
const tcpBuffer = 128 << 10

// keepUnsentShort leaves what cannot be sent yet to the queue here, which knows
// what is of no use any more.
func keepUnsentShort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(tcpBuffer) // where it is refused the connection works as well
	}
}
