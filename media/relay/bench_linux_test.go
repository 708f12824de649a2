package relay

import (
	"crypto/cipher"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/talkd/talkd/media"
)

// benchPackets is how many packets one operation of BenchmarkRelay carries.
const benchPackets = 128

// BenchmarkRelay compares the way of a layer from node to node with the plain
// one, round by round, so that both see the same machine: a system call for each
// sealed packet, and one for each that is opened. Sending includes what the
// kernel does until the datagram would be queued at the receiver, receiving all
// up to Source.Read.
func BenchmarkRelay(b *testing.B) {
	for _, burst := range []int{1, 2, 8, 32} {
		b.Run(fmt.Sprintf("send/burst=%d", burst), func(b *testing.B) { benchSend(b, burst, 0) })
	}
	b.Run("send/burst=8/uneven", func(b *testing.B) { benchSend(b, 8, 2) })
	for _, burst := range []int{1, 2, 8, 32} {
		b.Run(fmt.Sprintf("receive/burst=%d", burst), func(b *testing.B) { benchReceive(b, burst) })
	}
}

// compare runs both by turns on one thread and reports their time of the
// processor.
func compare(b *testing.B, prepare func(), ours, plain func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var a, p time.Duration
	b.ReportAllocs()
	for b.Loop() {
		prepare()
		start := threadTime(b)
		ours()
		middle := threadTime(b)
		plain()
		a, p = a+middle-start, p+threadTime(b)-middle
	}
	packets := float64(b.N * benchPackets)
	b.ReportMetric(float64(a.Nanoseconds())/packets, "relay-ns/packet")
	b.ReportMetric(float64(p.Nanoseconds())/packets, "plain-ns/packet")
	b.ReportMetric(float64(a)/float64(p), "ratio")
}

// threadTime is the time of the processor that this thread has had.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// benchLayer is a batch of a layer whose packets differ in size by less than
// spread.
func benchLayer(burst, spread int) []*media.Packet {
	var pool media.Pool
	batch := make([]*media.Packet, burst)
	for i := range batch {
		size := 1200
		if spread > 0 {
			size -= i * 7 % spread
		}
		batch[i] = testPacket(&pool, uint16(i), size)
	}
	return batch
}

func benchSend(b *testing.B, burst, spread int) {
	m, _, out := fuzzManager(b)
	s, to := benchSocket(b), newPlain(b, true)
	m.socket = s
	out.out.flow.to = netip.AddrPortFrom(netip.AddrFrom4(to.addr.Addr), uint16(to.addr.Port))
	batch := benchLayer(burst, spread)
	from := newPlain(b, false)
	compare(b, func() {}, func() {
		for range benchPackets / burst {
			out.out.Write(batch)
		}
	}, func() {
		for range benchPackets / burst {
			for _, p := range batch {
				from.send(b, to, p.Raw())
			}
		}
	})
	if lost := out.out.lost.Load(); lost > 0 {
		b.Errorf("%d packets lost", lost)
	}
}

func benchReceive(b *testing.B, burst int) {
	m, in, out := fuzzManager(b)
	s := benchSocket(b)
	m.socket = s
	out.link.outEpoch, out.stream = in.link.inEpoch, in.stream
	out.out.flow.to = s.addr()
	batch, taken := benchLayer(burst, 0), make([]*media.Packet, benchPackets)
	plain, from := newPlain(b, false), newPlain(b, false)
	intake := &intake{m: m}
	var seq uint16
	packets := 0
	compare(b, func() {
		for range benchPackets / burst {
			for _, p := range batch {
				p.Buffer()[2], p.Buffer()[3] = byte(seq>>8), byte(seq)
				seq++
				from.send(b, plain, p.Raw())
			}
			out.out.Write(batch)
		}
	}, func() {
		for got := 0; got < benchPackets; {
			if err := s.read(); err != nil {
				b.Fatal(err)
			}
			intake.begin(time.Now())
			for frame := s.next(); frame != nil; frame = s.next() {
				intake.receive(frame)
			}
			intake.end()
			n, err := in.in.Read(taken)
			if err != nil {
				b.Fatal(err)
			}
			for _, p := range taken[:n] {
				p.Release()
			}
			got += n
			packets += n
		}
	}, func() {
		for range benchPackets {
			plain.receive(b)
		}
	})
	if packets != b.N*benchPackets {
		b.Errorf("%d packets of %d", packets, b.N*benchPackets)
	}
}

// plain is a socket that sends and receives one datagram by each system call.
type plain struct {
	fd     int
	addr   *unix.SockaddrInet4
	aead   cipher.AEAD
	nonce  [nonceLen]byte
	h      header
	frame  [maxFrame]byte
	opened [maxFrame]byte
}

// newPlain makes a socket; one that drops is given nothing by the kernel, so
// that what is measured is sending alone.
func newPlain(b *testing.B, drops bool) *plain {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Close(fd) })
	p := &plain{fd: fd, aead: testAEAD(b), h: header{kind: kindRTP, epoch: 1, stream: 1}}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	name, err := unix.Getsockname(fd)
	if err != nil {
		b.Fatal(err)
	}
	p.addr = name.(*unix.SockaddrInet4)
	if drops {
		program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &program[0]}); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

func (p *plain) send(b *testing.B, to *plain, packet []byte) {
	p.h.counter++
	if err := unix.Sendto(p.fd, seal(p.frame[:0], p.aead, &p.nonce, p.h, packet), 0, to.addr); err != nil {
		b.Fatal(err)
	}
}

func (p *plain) receive(b *testing.B) {
	n, err := unix.Read(p.fd, p.frame[:])
	if err != nil {
		b.Fatal(err)
	}
	h, ok := parseHeader(p.frame[:n])
	if !ok {
		b.Fatal("not a frame")
	}
	if _, err := open(p.opened[:0], p.aead, &p.nonce, h, p.frame[:n]); err != nil {
		b.Fatal(err)
	}
}

func benchSocket(b *testing.B) *udpSocket {
	s, err := listen(b.Context(), "127.0.0.1:0", nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.close() })
	return s
}
