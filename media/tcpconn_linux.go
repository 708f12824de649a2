package media

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpUnsent is how much the kernel takes beyond what is on its way, about 100 ms
// of video. Without a bound it is up to 4 MB.
const tcpUnsent = 32 << 10

// keepUnsentShort leaves what cannot be sent yet to the queue here, which knows
// what is of no use any more.
func keepUnsentShort(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return
	}
	// Where it is refused the connection works as well.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, tcpUnsent)
	})
}
