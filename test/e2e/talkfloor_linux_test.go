package e2e

import (
	"encoding/json"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The floor of what is said to a room is a process with one thread, which writes what
// comes on one of its connections to each of the others, once: nothing is decoded,
// kept or combined. What it takes is what the kernel takes to bring so many messages
// to so many sockets on loopback.

// talkSize is about that of a message of a talker.
const talkSize = 400

// beTalkFloor is the process. It is told how many come, and tells where.
func beTalkFloor(in *json.Decoder, out *json.Encoder) error {
	runtime.GOMAXPROCS(2) // one waits in the kernel
	debug.SetGCPercent(-1)
	var people int
	if err := in.Decode(&people); err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	if err := out.Encode(l.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return err
	}
	var fds []int
	for range people {
		c, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		f, err := c.File() // it blocks: nobody else waits for it
		if err != nil {
			return err
		}
		defer f.Close()
		fd := int(f.Fd())
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
		fds = append(fds, fd)
	}
	go passOn(poll, fds)
	return in.Decode(&people) // until this is killed
}

func passOn(poll int, fds []int) {
	// The runtime is not told: there is nothing else to run.
	call := func(trap uintptr, fd int, at unsafe.Pointer, size int, flags int) int {
		n, _, _ := unix.RawSyscall6(trap, uintptr(fd), uintptr(at), uintptr(size), uintptr(flags), 0, 0)
		return int(n)
	}
	var events [64]unix.EpollEvent
	var b [talkSize]byte
	for {
		n := call(unix.SYS_EPOLL_WAIT, poll, unsafe.Pointer(&events), len(events), -1)
		for i := range max(n, 0) {
			from := int(events[i].Fd)
			size := call(unix.SYS_RECVFROM, from, unsafe.Pointer(&b), len(b), 0)
			if size <= 0 {
				return // the test is over
			}
			for _, to := range fds {
				if to != from {
					call(unix.SYS_SENDTO, to, unsafe.Pointer(&b), size, unix.MSG_NOSIGNAL)
				}
			}
		}
	}
}

// measureTalkFloor is what the floor takes for each delivery when so many people say
// so many messages each, evenly spread.
func measureTalkFloor(t *testing.T, people, each int, gap time.Duration) time.Duration {
	t.Helper()
	floor := startChild(t, roleTalkFloor, "env", "GODEBUG=asyncpreemptoff=1")
	floor.tell(people)
	addr := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	floor.hear(&addr.Port)
	var came atomic.Int64
	var readers, writers sync.WaitGroup
	var all []*net.TCPConn
	for range people {
		c, err := net.DialTCP("tcp4", nil, &addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		readers.Go(func() {
			for b := make([]byte, 1<<10); ; {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				came.Add(int64(n))
			}
		})
	}
	before, start := timesOf(floor.pid), time.Now()
	for i, c := range all {
		writers.Go(func() {
			for j := range each {
				talkFor(t, time.Until(start.Add(gap*time.Duration(i)/time.Duration(people)+gap*time.Duration(j))))
				if _, err := c.Write(make([]byte, talkSize)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	deliveries := people * (people - 1) * each
	eventually(t, 10*time.Second, "all of it to come", func() (bool, string) {
		return came.Load() == int64(deliveries*talkSize), ""
	})
	took := timesOf(floor.pid).ran - before.ran
	for _, c := range all {
		_ = c.Close()
	}
	readers.Wait()
	return took / time.Duration(deliveries)
}
