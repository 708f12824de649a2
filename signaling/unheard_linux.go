package signaling

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// unacknowledged is how many bytes of what was written the other end's TCP has not
// acknowledged, also of a connection that was reset, until it is closed here.
func unacknowledged(fd int) (uint32, error) {
	var n int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0, errno
	}
	return uint32(n), nil
}

// established tells whether the other end may still acknowledge something: it has
// neither closed the connection nor reset it.
func established(fd int) bool {
	const tcpEstablished = 1
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State == tcpEstablished
}
