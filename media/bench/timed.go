//go:build linux

package main

import (
	"net"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// timed is a socket that notes when RTP was sent and, if it is told to, when RTP
// came to the kernel: whoever reads it may be late.
type timed struct {
	*net.UDPConn

	mu   sync.Mutex
	sent []time.Time // guarded by mu
	came []time.Time // guarded by mu
}

func newTimed() (*timed, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	return &timed{UDPConn: c}, err
}

// stamp makes the kernel tell when packets come.
func (t *timed) stamp() error {
	return t.control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
}

// times returns what was noted since the last call.
func (t *timed) times() (sent, came []time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sent, came = t.sent, t.came
	t.sent, t.came = nil, nil
	return sent, came
}

// WriteToAddrPort is what the ICE library prefers.
func (t *timed) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if isRTP(b) {
		now := time.Now()
		t.mu.Lock()
		t.sent = append(t.sent, now)
		t.mu.Unlock()
	}
	return t.WriteToUDPAddrPort(b, to)
}

// ReadFromAddrPort is what the ICE library prefers.
func (t *timed) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	var oob [64]byte
	n, m, _, from, err := t.ReadMsgUDPAddrPort(b, oob[:])
	if m > 0 && isRTP(b[:n]) {
		if at, ok := stamped(oob[:m]); ok {
			t.mu.Lock()
			t.came = append(t.came, at)
			t.mu.Unlock()
		}
	}
	return n, from, err
}

func stamped(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS &&
			len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return time.Unix((*unix.Timespec)(unsafe.Pointer(&m.Data[0])).Unix()), true
		}
	}
	return time.Time{}, false
}

// isRTP tells RTP from STUN, DTLS and RTCP as the filter does.
func isRTP(b []byte) bool { return len(b) > 1 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223) }

func (t *timed) control(f func(fd int) error) error {
	c, err := t.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
