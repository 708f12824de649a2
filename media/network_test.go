package media

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The socket has the buffers that it wants, or as much of them as the kernel
// grants.
func TestSocketBuffers(t *testing.T) {
	udp, tcp, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	defer tcp.Close()
	raw, err := udp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for limit, option := range map[string]int{"rmem_max": syscall.SO_RCVBUF, "wmem_max": syscall.SO_SNDBUF} {
		text, err := os.ReadFile("/proc/sys/net/core/" + limit)
		if err != nil {
			t.Skip(err)
		}
		granted, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		var got int
		var failed error
		if err := raw.Control(func(fd uintptr) {
			got, failed = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option)
		}); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		// The kernel doubles the value for its own bookkeeping.
		if want := 2 * min(socketBuffer, granted); got != want {
			t.Errorf("buffer of %d bytes where %s grants %d", got, limit, granted)
		}
	}
}

// A panic in one of its goroutines ends a connection, and nothing else.
func TestPanicEndsTheConnection(t *testing.T) {
	n, err := newNetwork(Config{ListenUDP: "127.0.0.1:0"}, &metrics{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = n.Close() }()
	seen, ended := make(chan any, 1), make(chan error, 1)
	c, err := newConn(n, n.publish, nil, func(cause error) { ended <- cause }, func(v any) { seen <- v })
	if err != nil {
		t.Fatal(err)
	}
	c.run(func() { panic("for the test") })
	if v := <-seen; v != "for the test" {
		t.Errorf("recovered %v", v)
	}
	if cause := <-ended; !errors.Is(cause, ErrConnection) {
		t.Errorf("ended by %v", cause)
	}
}
