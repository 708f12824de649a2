package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	benchReceivers = 50
	benchSize      = 1200
)

// dropping are receivers whose kernel drops what comes in, so that what is
// measured is sending alone.
func dropping(b *testing.B) (to []netip.AddrPort) {
	for range benchReceivers {
		r := newReceiver(b, "127.0.0.1:0")
		raw, err := r.SyscallConn()
		if err != nil {
			b.Fatal(err)
		}
		attach(b, &socket{raw: raw}, unix.SO_ATTACH_FILTER, []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}})
		to = append(to, r.addr)
	}
	return to
}

// BenchmarkSend compares a Burst with the bare system call on messages that are
// laid out once, round by round, so that both see the same machine: what is
// above 1 is the price of gathering. Both write each datagram into their arena.
func BenchmarkSend(b *testing.B) {
	packet := make([]byte, benchSize)
	for _, each := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("each=%d", each), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			p, to := listenFor(b, "127.0.0.1:0", 1), dropping(b)
			bare := newBare(b, p.sockets[0], to, each)
			burst := p.Burst()
			defer burst.Release()
			var ours, floor time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := threadTime(b)
				for _, a := range to {
					for range each {
						copy(burst.Room(benchSize), packet)
						burst.Add(a, benchSize)
					}
				}
				if lost := burst.Flush(); lost != 0 {
					b.Fatalf("lost %d", lost)
				}
				middle := threadTime(b)
				bare.send(b, packet)
				ours, floor = ours+middle-start, floor+threadTime(b)-middle
			}
			datagrams := float64(b.N * each * len(to))
			b.ReportMetric(float64(ours.Nanoseconds())/datagrams, "burst-ns/datagram")
			b.ReportMetric(float64(floor.Nanoseconds())/datagrams, "bare-ns/datagram")
			b.ReportMetric(float64(ours)/float64(floor), "ratio")
		})
	}
}

// threadTime is the time of the processor that this thread has had.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// bare is sendmmsg with UDP_SEGMENT and nothing else.
type bare struct {
	fd      uintptr
	each    int
	headers []mmsghdr
	arena   []byte
}

func newBare(b *testing.B, s *socket, to []netip.AddrPort, each int) *bare {
	w := &bare{each: each, headers: make([]mmsghdr, len(to)), arena: make([]byte, len(to)*each*benchSize)}
	if err := control(s.raw, func(fd int) error { w.fd = uintptr(fd); return nil }); err != nil {
		b.Fatal(err)
	}
	for i, a := range to {
		h := &w.headers[i]
		name, vector := new(unix.RawSockaddrInet6), new(unix.Iovec)
		h.Namelen = s.name(name, a)
		h.Name = (*byte)(unsafe.Pointer(name))
		vector.Base = &w.arena[i*each*benchSize]
		vector.SetLen(each * benchSize)
		h.Iov = vector
		h.SetIovlen(1)
		if each > 1 {
			c := &segmentOption{size: benchSize}
			c.header.Level, c.header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
			c.header.SetLen(unix.CmsgLen(2))
			h.Control = (*byte)(unsafe.Pointer(c))
			h.SetControllen(unix.CmsgSpace(2))
		}
	}
	return w
}

func (w *bare) send(b *testing.B, packet []byte) {
	// As much of the arena as a Burst has at once.
	for first := 0; first < len(w.headers); {
		part := w.headers[first:min(len(w.headers), first+arenaSize/(w.each*benchSize))]
		for i := range len(part) * w.each {
			copy(w.arena[(first*w.each+i)*benchSize:], packet)
		}
		n, err := batchCall(unix.SYS_SENDMMSG, w.fd, part)
		if err != nil {
			b.Fatal(err)
		}
		first += n
	}
}
