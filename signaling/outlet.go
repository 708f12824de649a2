package signaling

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/talkd/talkd/signaling/quiet"
	"github.com/talkd/talkd/signaling/tlsout"
)

// outlet is where all goes out that a WebSocket sends: messages as we frame them, before
// them pings and pongs, and how the library ends the connection, which is a write of its
// own. With TLS of the node all of it is sealed before it is written.
type outlet struct {
	net.Conn                 // is read, and closed
	socket   net.Conn        // is written to
	tls      *tlsout.Conn    // seals what is written to the socket; nil without TLS
	raw      syscall.RawConn // nil: of Conn only Conn knows how it is read
	buffers  *sync.Pool      // of *buffer

	closing atomic.Bool // no new write begins
	control control

	mu      sync.Mutex // held while something is written
	closed  bool       // guarded by mu
	begun   []byte     // guarded by mu; goes out before all else, as it is: the answer of the handshake, or the rest of frames
	unheard unheard    // guarded by mu
}

// over begins with what is to go out first.
func (o *outlet) over(conn net.Conn, first []byte) (err error) {
	o.Conn, o.socket = conn, conn
	if sealed, written, ok := tlsout.Hold(conn); ok {
		o.tls, o.socket, o.unheard.written = sealed, sealed.Conn, written
		_, o.unheard.fd = rawOf(o.socket) // is read by TLS
	} else {
		o.raw, o.unheard.fd = rawOf(conn)
	}
	o.begun, err = o.sealLocked(nil, first)
	return err
}

// Read is for the library.
func (o *outlet) Read(p []byte) (n int, err error) {
	if o.raw == nil {
		return o.Conn.Read(p)
	}
	waitErr := o.raw.Read(func(fd uintptr) (done bool) {
		n, done, err = quiet.Receive(int(fd), p)
		return done
	})
	return n, cmp.Or(waitErr, err)
}

// Write is for the library.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all, err := o.sealLocked(o.begun, p)
	if o.begun = nil; err == nil {
		_, err = o.writeAllLocked(all)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// sealLocked appends p to b as it goes out. What is sealed has to go out.
func (o *outlet) sealLocked(b, p []byte) ([]byte, error) {
	if o.tls == nil || len(p) == 0 {
		return append(b, p...), nil
	}
	return o.tls.Seal(b, p)
}

// writeAllLocked writes for as long as the other end takes something of it each
// writeTimeout: it may have much to read, and few bytes a second for that.
func (o *outlet) writeAllLocked(p []byte) (written int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for heard := int64(-1); ; {
		_ = o.socket.SetWriteDeadline(time.Now().Add(writeTimeout)) // on a closed connection, which Write says too
		if o.closing.Load() {
			return written, net.ErrClosed
		}
		n, err := o.socket.Write(p[written:])
		written += n
		o.unheard.written += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The kernel takes more only when much of what it has is gone.
			if now := o.unheard.acknowledged(); n > 0 || now > heard {
				heard = now
				continue
			}
		}
		// A TLS that is not ours writes by itself now and then.
		_ = o.socket.SetWriteDeadline(time.Time{})
		return written, err
	}
}

// writeFrames sends messages at once: a system call costs much more than to copy
// them. It tells how many have gone out whole, and keeps those of a session until
// they are acknowledged. What the connection says itself comes before its session,
// or after the end of it, when nobody comes back for anything. Without a message only
// what has been begun goes out, and pings and pongs.
func (o *outlet) writeFrames(frames [][]byte, ofSession bool) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, err := o.framedLocked(frames)
	defer o.reuse(b)
	if err != nil {
		return 0, err
	}
	begin := o.unheard.written
	_, err = o.writeAllLocked(b.bytes)
	return o.keepLocked(frames, b.ends, begin, ofSession), err
}

// tryFrames is writeFrames as far as the kernel takes it at once. A frame of which it
// has taken a part counts as whole, and with TLS all do, as they are sealed: the rest goes
// out before all else.
func (o *outlet) tryFrames(frames [][]byte, ofSession bool) (int, error) {
	if !o.mu.TryLock() {
		return 0, errPatience
	}
	defer o.mu.Unlock()
	switch {
	case o.closing.Load():
		return 0, net.ErrClosed
	case o.unheard.fd == 0:
		return 0, errPatience
	}
	b, err := o.framedLocked(frames)
	defer o.reuse(b)
	if err != nil {
		return 0, err
	}
	begin := o.unheard.written
	n, err := quiet.Send(o.unheard.fd, b.bytes)
	o.unheard.written += int64(n)
	if err == nil && n < len(b.bytes) {
		end := b.begin
		if o.tls != nil {
			end = len(b.bytes)
		}
		for i := 0; end < n; i++ {
			end = b.ends[i]
		}
		o.begun, err = bytes.Clone(b.bytes[n:end]), errPatience
	}
	return o.keepLocked(frames, b.ends, begin, ofSession), err
}

// keepLocked keeps what has gone out of frames, and tells how many have. They end so many
// bytes after begin.
func (o *outlet) keepLocked(frames [][]byte, ends []int, begin int64, ofSession bool) int {
	switch {
	case len(frames) == 0:
	case ofSession:
		o.unheard.askSometimes()
	default:
		o.unheard.frames = nil
	}
	out := o.unheard.written + int64(len(o.begun))
	for i, frame := range frames {
		end := begin + int64(ends[i])
		if end > out {
			return i
		}
		if ofSession {
			o.unheard.add(frame, end)
		}
	}
	return len(frames)
}

// buffer is what is written at once.
type buffer struct {
	bytes []byte
	begin int   // of the first frame
	ends  []int // of each frame
	plain []byte
}

// maxBuffer is what is kept to be used again.
const maxBuffer = 2 * maxWrite

// framedLocked puts messages one after the other, after what has been begun and pings and
// pongs, all of which has to go out then.
func (o *outlet) framedLocked(frames [][]byte) (*buffer, error) {
	b, _ := o.buffers.Get().(*buffer)
	if b == nil {
		b = new(buffer)
	}
	b.bytes, b.ends, o.begun = append(b.bytes[:0], o.begun...), b.ends[:0], nil
	var err error
	if b.plain = o.control.appendTo(b.plain[:0]); len(b.plain) > 0 {
		b.bytes, err = o.sealLocked(b.bytes, b.plain)
	}
	b.begin = len(b.bytes)
	for _, frame := range frames {
		if o.tls == nil {
			b.bytes = append(appendHeader(b.bytes, len(frame)), frame...)
		} else if b.plain = append(appendHeader(b.plain[:0], len(frame)), frame...); err == nil {
			b.bytes, err = o.tls.Seal(b.bytes, b.plain)
		}
		b.ends = append(b.ends, len(b.bytes))
	}
	return b, err
}

func (o *outlet) reuse(b *buffer) {
	if cap(b.bytes)+cap(b.plain) <= maxBuffer {
		o.buffers.Put(b)
	}
}

// appendHeader begins a text message of one frame from a server, RFC 6455 section 5.2.
func appendHeader(b []byte, size int) []byte {
	const finalText, size16, size64 = 0x81, 126, 127
	switch {
	case size < size16:
		return append(b, finalText, byte(size))
	case size <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, finalText, size16), uint16(size))
	}
	return binary.BigEndian.AppendUint64(append(b, finalText, size64), uint64(size))
}
