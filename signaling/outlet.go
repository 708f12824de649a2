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
)

// outlet is where all goes out that a WebSocket sends: messages as we frame them, before
// them pings and pongs, and how the library ends the connection, which is a write of its
// own.
type outlet struct {
	net.Conn
	raw     syscall.RawConn // nil: of Conn only Conn knows how it is read
	buffers *sync.Pool

	closing atomic.Bool // no new write begins
	control control

	mu      sync.Mutex // held while something is written
	closed  bool       // guarded by mu
	begun   []byte     // guarded by mu; goes out before all else: the answer of the handshake, the rest of a frame, pings and pongs
	unheard unheard    // guarded by mu
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
	return o.writeLocked(p)
}

// writeLocked writes p after what has been begun.
func (o *outlet) writeLocked(p []byte) (int, error) {
	if len(o.begun) > 0 {
		n, err := o.writeAllLocked(o.begun)
		if o.begun = o.begun[n:]; err != nil {
			return 0, err
		}
		o.begun = nil
	}
	return o.writeAllLocked(p)
}

// writeAllLocked writes for as long as the other end takes something of it each
// writeTimeout: it may have much to read, and few bytes a second for that. TLS has to be
// done with all by the first deadline; after one it writes no more.
func (o *outlet) writeAllLocked(p []byte) (written int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	for heard := int64(-1); ; {
		_ = o.SetWriteDeadline(time.Now().Add(writeTimeout)) // on a closed connection, which Write says too
		if o.closing.Load() {
			return written, net.ErrClosed
		}
		n, err := o.Conn.Write(p[written:])
		written += n
		o.unheard.written += int64(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The kernel takes more only when much of what it has is gone.
			if now := o.unheard.acknowledged(); n > 0 || now > heard {
				heard = now
				continue
			}
		}
		// TLS writes by itself now and then.
		_ = o.SetWriteDeadline(time.Time{})
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
	o.begun = o.control.appendTo(o.begun)
	buffer := o.framed(nil, frames)
	defer o.reuse(buffer)
	begin := o.unheard.written + int64(len(o.begun))
	_, err := o.writeLocked(*buffer)
	return o.keepLocked(frames, begin, ofSession), err
}

// tryFrames is writeFrames as far as the kernel takes it at once. A frame of which it
// has taken a part counts as whole: the rest goes out before all else.
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
	o.begun = o.control.appendTo(o.begun)
	buffer := o.framed(o.begun, frames)
	defer o.reuse(buffer)
	end := len(o.begun)
	begin := o.unheard.written + int64(end)
	n, err := quiet.Send(o.unheard.fd, *buffer)
	o.unheard.written += int64(n)
	o.begun = o.begun[min(n, end):]
	if err == nil && n < len(*buffer) {
		for i := 0; end < n; i++ {
			end += headerSize(len(frames[i])) + len(frames[i])
		}
		o.begun, err = bytes.Clone((*buffer)[n:end]), errPatience
	}
	return o.keepLocked(frames, begin, ofSession), err
}

// keepLocked keeps what has gone out of frames which begin at that byte, and tells how
// many have.
func (o *outlet) keepLocked(frames [][]byte, begin int64, ofSession bool) int {
	switch {
	case len(frames) == 0:
	case ofSession:
		o.unheard.askSometimes()
	default:
		o.unheard.frames = nil
	}
	out := o.unheard.written + int64(len(o.begun))
	for i, frame := range frames {
		if begin += int64(headerSize(len(frame)) + len(frame)); begin > out {
			return i
		}
		if ofSession {
			o.unheard.add(frame, begin)
		}
	}
	return len(frames)
}

// maxBuffer is what is kept to be used again.
const maxBuffer = 2 * maxWrite

// framed puts messages one after the other, after what has been begun.
func (o *outlet) framed(begun []byte, frames [][]byte) *[]byte {
	buffer, _ := o.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	all := append((*buffer)[:0], begun...)
	for _, frame := range frames {
		all = append(appendHeader(all, len(frame)), frame...)
	}
	*buffer = all
	return buffer
}

func (o *outlet) reuse(buffer *[]byte) {
	if cap(*buffer) <= maxBuffer {
		o.buffers.Put(buffer)
	}
}

func headerSize(size int) int {
	var header [10]byte
	return len(appendHeader(header[:0], size))
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
