package e2e

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The floor of TestServerCost is the least that bringing the same packets to the
// same number of receivers takes here: a process with one socket and one thread
// that waits in the kernel, opens what came with AES-256-GCM, seals it anew for each
// receiver, and sends what it sealed by as few system calls as there can be.
// Nothing is negotiated, kept, counted or reported. Publishers and receivers are
// in the process of the test, as they are for talkd.

const (
	floorHeader = 12 // the flow, and the number of the packet: together the nonce
	floorBatch  = 64 // messages of one system call
	floorSize   = 2048
)

// floorSetup is what the process is told. It tells its port.
type floorSetup struct {
	Publishers [][]netip.AddrPort // the receivers of each
}

// floorKey is the key of a flow: each has its own.
func floorKey(flow uint32) cipher.AEAD {
	var key [32]byte
	binary.BigEndian.PutUint32(key[:], flow)
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// Flows are numbered: the one of publisher p to the node, and from there to its
// receiver r.
func flowIn(p int) uint32     { return uint32(p) }
func flowOut(p, r int) uint32 { return 1<<31 | uint32(p)<<16 | uint32(r) }

func sealFlow(to []byte, k cipher.AEAD, flow uint32, number uint64, payload []byte) int {
	binary.BigEndian.PutUint32(to, flow)
	binary.BigEndian.PutUint64(to[4:], number)
	return floorHeader + len(k.Seal(to[floorHeader:floorHeader], to[:floorHeader], payload, to[:floorHeader]))
}

func openFlow(k cipher.AEAD, b []byte) ([]byte, error) {
	return k.Open(b[floorHeader:floorHeader], b[:floorHeader], b[floorHeader:], b[:floorHeader])
}

type floorMessage struct {
	unix.Msghdr
	length uint32
}

type floorFlow struct {
	to   unix.RawSockaddrInet4
	key  cipher.AEAD
	id   uint32
	next uint64
}

// floorBuffers are what one system call reads or writes.
type floorBuffers struct {
	messages [floorBatch]floorMessage
	vectors  [floorBatch]unix.Iovec
	data     [floorBatch][floorSize]byte
	n        int
}

func newFloorBuffers() *floorBuffers {
	b := new(floorBuffers)
	for i := range b.messages {
		b.vectors[i].Base = &b.data[i][0]
		b.messages[i].Iov = &b.vectors[i]
		b.messages[i].SetIovlen(1)
	}
	return b
}

// call is a system call of which the runtime is not told: there is nothing else
// to run, and its monitor would cost more than the call.
func (b *floorBuffers) call(trap uintptr, fd, n int, flags uintptr) int {
	for {
		done, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&b.messages)), uintptr(n), flags, 0, 0)
		switch errno {
		case 0:
			return int(done)
		case unix.EINTR:
		default:
			panic(errno)
		}
	}
}

func (b *floorBuffers) flush(fd int) {
	for at := 0; at < b.n; {
		n := b.call(unix.SYS_SENDMMSG, fd, b.n, 0)
		if at += n; at < b.n {
			panic("the kernel took a part")
		}
	}
	b.n = 0
}

// beFloor is the process.
func beFloor(in *json.Decoder, out *json.Encoder) error {
	// The thread below waits with what the runtime counts as a processor, and does
	// not stop for the garbage collector.
	runtime.GOMAXPROCS(2)
	debug.SetGCPercent(-1)
	var s floorSetup
	if err := in.Decode(&s); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	go s.forward(fd)
	if err := out.Encode(name.(*unix.SockaddrInet4).Port); err != nil {
		return err
	}
	return in.Decode(&s) // until this is killed
}

func (s floorSetup) forward(fd int) {
	var keys []cipher.AEAD
	var flows [][]*floorFlow
	for p, receivers := range s.Publishers {
		keys = append(keys, floorKey(flowIn(p)))
		var all []*floorFlow
		for r, to := range receivers {
			f := &floorFlow{key: floorKey(flowOut(p, r)), id: flowOut(p, r)}
			f.to.Family, f.to.Addr = unix.AF_INET, to.Addr().As4()
			binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&f.to.Port))[:], to.Port())
			all = append(all, f)
		}
		flows = append(flows, all)
	}
	in, out := newFloorBuffers(), newFloorBuffers()
	for i := range in.vectors {
		in.vectors[i].SetLen(floorSize)
		out.messages[i].Namelen = unix.SizeofSockaddrInet4
	}
	for {
		n := in.call(unix.SYS_RECVMMSG, fd, floorBatch, unix.MSG_WAITFORONE)
		for i := range n {
			b := in.data[i][:in.messages[i].length]
			p := binary.BigEndian.Uint32(b)
			payload, err := openFlow(keys[p], b)
			if err != nil {
				panic(err)
			}
			for _, f := range flows[p] {
				if out.n == floorBatch {
					out.flush(fd)
				}
				m := out.n
				out.messages[m].Name = (*byte)(unsafe.Pointer(&f.to))
				out.vectors[m].SetLen(sealFlow(out.data[m][:], f.key, f.id, f.next, payload))
				f.next++
				out.n++
			}
		}
		out.flush(fd)
	}
}

// measureFloor is what the floor takes for as many publishers, each with as many
// who listen.
func measureFloor(t *testing.T, publishers, audience int) cost {
	t.Helper()
	var came, wrong atomic.Int64
	var s floorSetup
	listening := make(chan struct{}, publishers*audience)
	for p := range publishers {
		var all []netip.AddrPort
		for r := range audience {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			all = append(all, conn.LocalAddr().(*net.UDPAddr).AddrPort())
			go func() {
				key, first := floorKey(flowOut(p, r)), true
				for b := make([]byte, floorSize); ; {
					n, _, err := conn.ReadFromUDPAddrPort(b)
					if err != nil {
						return
					}
					if _, err := openFlow(key, b[:n]); err != nil {
						wrong.Add(1)
					}
					came.Add(1)
					if first {
						listening <- struct{}{}
						first = false
					}
				}
			}()
		}
		s.Publishers = append(s.Publishers, all)
	}
	// Nothing waits for the thread, so it need not be interrupted either.
	floor := startChild(t, roleFloor, "env", "GODEBUG=asyncpreemptoff=1")
	floor.tell(s)
	addr := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	floor.hear(&addr.Port)
	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	t.Cleanup(senders.Wait)
	t.Cleanup(stop)
	for p := range publishers {
		conn, err := net.DialUDP("udp4", nil, &addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		senders.Go(func() { floorSend(ctx, conn, uint32(p)) })
	}
	for range publishers * audience {
		<-listening
	}
	c := costOf(floor.pid, func() float64 {
		before, began := came.Load(), time.Now()
		<-time.After(*costWindow)
		return float64(came.Load()-before) / time.Since(began).Seconds()
	})
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d packets of the floor are not what was sent", n)
	}
	return c
}

// floorSend sends what the publishers of package load do: voice each 20 ms, and
// each other time a frame of video in packets of 1100 to 1200 bytes.
func floorSend(ctx context.Context, conn *net.UDPConn, flow uint32) {
	const voice, second = 80, 1_000_000 / 8
	key, b, payload := floorKey(flow), make([]byte, floorSize), make([]byte, floorSize)
	var number uint64
	send := func(size int) {
		n := sealFlow(b, key, flow, number, payload[:size])
		number++
		_, _ = conn.Write(b[:n]) // a packet that is lost is not counted
	}
	time.Sleep(rand.N(40 * time.Millisecond)) // so that publishers do not send in step
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for credit, n := 0, 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		send(voice)
		if n%2 == 1 {
			continue
		}
		for credit += second / 25; credit > 1150; {
			size := 1100 + rand.IntN(101)
			send(size)
			credit -= size
		}
	}
}
