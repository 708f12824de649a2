package e2e

import (
	"encoding/json"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The floor of coming is a process with one thread, which does with sockets what a node
// does with them for each who comes, and nothing else: it accepts, answers the upgrade,
// asks a Nextcloud at the hello and at the room before it answers, and tells those of the
// room who came last. Nothing is decoded, checked or kept.

// What is said when somebody comes, in bytes, about as talkd and its clients say it.
const (
	floorSaid     = 300 // by the client, each time
	floorAnswered = 700 // to it
	floorAsked    = 700 // of the Nextcloud
	floorReplied  = 400 // by it
	floorTold     = 300 // to somebody in the room
	floorSteps    = 3   // upgrade, hello, room
	floorRoom     = 10  // people
)

// beJoinFloor is the process. It is told where the Nextcloud is, and tells where it is.
func beJoinFloor(in *json.Decoder, out *json.Encoder) error {
	runtime.GOMAXPROCS(2) // one waits in the kernel
	debug.SetGCPercent(-1)
	backend := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	if err := in.Decode(&backend.Port); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	c, err := net.DialTCP("tcp4", nil, &backend)
	if err != nil {
		return err
	}
	listener, err := l.File()
	if err != nil {
		return err
	}
	defer listener.Close()
	asked, err := c.File()
	if err != nil {
		return err
	}
	defer asked.Close()
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	for _, fd := range []int{int(listener.Fd()), int(asked.Fd())} {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
	if err := out.Encode(l.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	go letIn(poll, int(listener.Fd()), int(asked.Fd()))
	return in.Decode(&backend.Port) // until this is killed
}

func letIn(poll, listener, nextcloud int) {
	// The runtime is not told: there is nothing else to run.
	call := func(trap uintptr, fd int, args ...uintptr) int {
		var a [5]uintptr
		copy(a[:], args)
		n, _, errno := unix.RawSyscall6(trap, uintptr(fd), a[0], a[1], a[2], a[3], a[4])
		if errno != 0 {
			return -1
		}
		return int(n)
	}
	var (
		events  [64]unix.EpollEvent
		b       [1 << 10]byte
		steps   = make(map[int]int) // of each client
		waiting []int               // for the Nextcloud, in order
		replied int                 // by it, in bytes that are not a whole answer yet
		room    []int
		one     int32 = 1
	)
	send := func(fd, size int) {
		call(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b)), uintptr(size), unix.MSG_NOSIGNAL)
	}
	for {
		n := call(unix.SYS_EPOLL_WAIT, poll, uintptr(unsafe.Pointer(&events)), uintptr(len(events)), ^uintptr(0))
		for i := range max(n, 0) {
			switch from := int(events[i].Fd); from {
			case listener:
				fd := call(unix.SYS_ACCEPT4, listener, 0, 0, unix.SOCK_CLOEXEC)
				for _, option := range []uintptr{unix.TCP_NODELAY, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
					call(unix.SYS_SETSOCKOPT, fd, unix.IPPROTO_TCP, option, uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
				}
				event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
				call(unix.SYS_EPOLL_CTL, poll, unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(&event)))
			case nextcloud:
				replied += max(call(unix.SYS_RECVFROM, nextcloud, uintptr(unsafe.Pointer(&b)), uintptr(len(b)), 0), 0)
				for ; replied >= floorReplied && len(waiting) > 0; replied -= floorReplied {
					to := waiting[0]
					waiting = waiting[1:]
					send(to, floorAnswered)
					if steps[to] < floorSteps {
						continue
					}
					for _, other := range room[max(0, len(room)-2):] { // those before were told of several at once
						send(other, floorTold)
					}
					if room = append(room, to); len(room) == floorRoom {
						room = nil
					}
				}
			default:
				if call(unix.SYS_RECVFROM, from, uintptr(unsafe.Pointer(&b)), uintptr(len(b)), 0) <= 0 {
					return // the test is over
				}
				if steps[from]++; steps[from] == 1 {
					send(from, floorAnswered)
					continue
				}
				waiting = append(waiting, from)
				send(nextcloud, floorAsked)
			}
		}
	}
}

// measureJoinFloor is what the floor takes in all for so many, who come one after the
// other.
func measureJoinFloor(t *testing.T, people int, gap time.Duration) time.Duration {
	t.Helper()
	nextcloud, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer nextcloud.Close()
	floor := startChild(t, roleJoinFloor, "env", "GODEBUG=asyncpreemptoff=1")
	floor.tell(nextcloud.Addr().(*net.TCPAddr).Port)
	asking, err := nextcloud.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for b := make([]byte, floorAsked); ; {
			if _, err := io.ReadFull(asking, b); err != nil {
				return
			}
			if _, err := asking.Write(make([]byte, floorReplied)); err != nil {
				return
			}
		}
	}()
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	floor.hear(&addr.Port)
	var coming sync.WaitGroup
	all := make([]*net.TCPConn, people)
	before, start := timesOf(floor.pid), time.Now()
	for i := range people {
		talkFor(t, time.Until(start.Add(gap*time.Duration(i))))
		coming.Go(func() {
			c, err := net.DialTCP("tcp4", nil, &addr)
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = c
			for range floorSteps {
				if _, err := c.Write(make([]byte, floorSaid)); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadFull(c, make([]byte, floorAnswered)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	coming.Wait()
	took := timesOf(floor.pid).ran - before.ran
	for _, c := range all {
		if c != nil {
			_ = c.Close()
		}
	}
	_ = asking.Close()
	return took
}
