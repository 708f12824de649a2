package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// readMessages is how many messages a Reader takes at once; each may be an IP
// packet full of datagrams.
const readMessages = 16

// groupOption is the control message by which the kernel tells the size of the
// datagrams that it has joined (UDP_GRO).
type groupOption struct {
	header unix.Cmsghdr
	size   int32
	_      [unix.SizeofPtr - 4]byte
}

// Reader takes in what comes to one socket. It is for one goroutine:
//
//	for r.Read() == nil {
//		for d := r.Next(); d != nil; d = r.Next() {
//			…
//		}
//	}
type Reader struct {
	socket   *socket
	headers  [readMessages]mmsghdr
	vectors  [readMessages]unix.Iovec
	options  [readMessages]groupOption
	messages []byte // maxMessage bytes for each

	count int    // of messages that were read
	next  int    // the message that comes next
	rest  []byte // of the one before
	size  int    // of its datagrams
}

func newGroupReader(s *socket) *Reader {
	r := &Reader{socket: s, messages: make([]byte, readMessages*maxMessage)}
	// Where the kernel does not know it each datagram is a message.
	_ = control(s.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) })
	for i := range r.headers {
		r.vectors[i].Base = &r.messages[i*maxMessage]
		r.vectors[i].SetLen(maxMessage)
		h := &r.headers[i]
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.options[i]))
	}
	return r
}

// Read waits for datagrams, which Next returns then.
func (r *Reader) Read() error {
	for i := range r.headers {
		r.headers[i].SetControllen(int(unsafe.Sizeof(groupOption{})))
	}
	r.next, r.rest = 0, nil
	var err error
	r.count, err = r.socket.arrivals.read(r.headers[:])
	return err
}

// Next returns the next datagram that was read, until the next Read; nil when
// there is none left. Empty ones are left out.
func (r *Reader) Next() []byte {
	for len(r.rest) == 0 {
		if r.next == r.count {
			return nil
		}
		r.rest, r.size = r.message(r.next)
		r.next++
	}
	n := min(r.size, len(r.rest))
	d := r.rest[:n:n]
	r.rest = r.rest[n:]
	return d
}

// message is what was read at once, and the size of the datagrams in it.
func (r *Reader) message(i int) (b []byte, size int) {
	h, o := &r.headers[i], &r.options[i]
	b = r.messages[i*maxMessage:][:h.Len]
	if int(h.Controllen) >= unix.CmsgLen(4) && o.header.Level == unix.SOL_UDP && o.header.Type == unix.UDP_GRO && o.size > 0 {
		return b, int(o.size)
	}
	return b, len(b)
}
