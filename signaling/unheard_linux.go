package signaling

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawOf is what the kernel is asked through. TLS is not asked: its bytes are not
// those of the frames.
func rawOf(c net.Conn) syscall.RawConn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// unacknowledged is how many bytes of what was written the other end's TCP has not
// acknowledged, also of a connection that was reset, until it is closed here.
func unacknowledged(raw syscall.RawConn) (n uint32, err error) {
	controlErr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetUint32(int(fd), unix.SIOCOUTQ) })
	if controlErr != nil {
		return 0, controlErr
	}
	return n, err
}

// established tells whether the other end may still acknowledge something: it has
// neither closed the connection nor reset it.
func established(raw syscall.RawConn) bool {
	const tcpEstablished = 1
	var info *unix.TCPInfo
	err := raw.Control(func(fd uintptr) { info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return err == nil && info != nil && info.State == tcpEstablished
}
