//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/talkd/talkd/media"
)

const (
	vector = 64        // messages a system call
	arena  = 512 << 10 // what a system call may send
)

// lane forwards one stream as well as this kernel can: each packet is sealed
// from where it came to where it is sent from, the packets of a receiver are one
// message of as many segments, and a system call takes 64 messages. It has no
// history, no choice, no counters and no feedback.
type lane struct {
	fd      int
	flows   atomic.Pointer[[]*flow]
	arena   []byte
	used    int
	out     [vector]message
	iov     [vector]unix.Iovec
	segment [vector]segment
	n       int // messages in out
}

// flow is one receiver.
type flow struct {
	to   unix.RawSockaddrInet4
	key  sealing
	ssrc uint32
	next uint32 // packets so far: the roll-over counter and the sequence number
}

func newLane() (*lane, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	l := &lane{fd: fd, arena: make([]byte, arena)}
	l.flows.Store(&[]*flow{})
	for i := range l.out {
		l.out[i].point(&l.iov[i])
		l.out[i].Namelen = unix.SizeofSockaddrInet4
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20) // a smaller one works as well
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20) // likewise
	return l, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}

func (l *lane) subscribe(to netip.AddrPort, k sealing, ssrc uint32) {
	f := &flow{key: k, ssrc: ssrc}
	f.to.Family, f.to.Addr = unix.AF_INET, to.Addr().As4()
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&f.to.Port))[:], to.Port())
	flows := append(slices.Clone(*l.flows.Load()), f)
	l.flows.Store(&flows)
}

// forward sends packets to every receiver.
func (l *lane) forward(packets [][]byte) error {
	even(packets)
	for _, f := range *l.flows.Load() {
		for rest := packets; len(rest) > 0; {
			n := joined(rest)
			if err := l.add(f, rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
	}
	return l.flush()
}

// add seals packets of one message for a receiver.
func (l *lane) add(f *flow, packets [][]byte) error {
	size := len(packets[0]) + f.key.overhead()
	if l.n == vector || l.used+size*len(packets) > len(l.arena) {
		if err := l.flush(); err != nil {
			return err
		}
	}
	m, start := &l.out[l.n], l.used
	m.Name = (*byte)(unsafe.Pointer(&f.to))
	m.split(&l.segment[l.n], size, len(packets))
	for _, p := range packets {
		to := l.arena[l.used:][:len(p)+f.key.overhead()]
		copy(to, p[:rtpHeader])
		binary.BigEndian.PutUint16(to[2:], uint16(f.next))
		binary.BigEndian.PutUint32(to[8:], f.ssrc)
		f.key.seal(to, p[rtpHeader:], f.ssrc, f.next)
		f.next++
		l.used += len(to)
	}
	l.iov[l.n].Base = &l.arena[start]
	l.iov[l.n].SetLen(l.used - start)
	l.n++
	return nil
}

func (l *lane) flush() error {
	for at := 0; at < l.n; {
		n, err := messages(unix.SYS_SENDMMSG, l.fd, l.out[at:l.n], 0)
		if err != nil {
			return err
		}
		at += n
	}
	l.n, l.used = 0, 0
	return nil
}

// relay forwards what a publisher sends, burst by burst: it knows how long they are, and
// waits for all of one, which nobody else can. That wakes it for each packet, and pays
// when there are several receivers.
func (l *lane) relay(k sealing, burst int) error {
	in, iov, packets := make([]message, burst), make([]unix.Iovec, burst), make([][]byte, burst)
	buf := make([]byte, burst*media.MaxPacket)
	for i := range in {
		iov[i].Base = &buf[i*media.MaxPacket]
		iov[i].SetLen(media.MaxPacket)
		in[i].point(&iov[i])
	}
	var last uint32 // roll-over counter and sequence number of the last packet
	for {
		flags := uintptr(0)
		if len(*l.flows.Load()) == 1 {
			flags = unix.MSG_WAITFORONE
		}
		n, err := messages(unix.SYS_RECVMMSG, l.fd, in, flags)
		if err != nil {
			return err
		}
		for i := range n {
			p := buf[i*media.MaxPacket:][:in[i].length]
			last += uint32(binary.BigEndian.Uint16(p[2:]) - uint16(last))
			if err := k.open(p, binary.BigEndian.Uint32(p[8:]), last); err != nil {
				return err
			}
			packets[i] = p[:len(p)-k.overhead()]
		}
		if err := l.forward(packets[:n]); err != nil {
			return err
		}
	}
}
