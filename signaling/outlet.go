package signaling

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// outlet is where all goes out that a WebSocket sends: messages as we frame them, and
// what the library has to say of the connection itself, each of which is one write.
type outlet struct {
	net.Conn
	buffers *sync.Pool

	closing atomic.Bool // no new write begins

	mu      sync.Mutex // held while something is written
	closed  bool       // guarded by mu
	unheard unheard    // guarded by mu, but for raw, which stays
}

// Write is for the library.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writeLocked(p)
}

// writeLocked writes for as long as the other end takes something of it each writeTimeout:
// it may have much to read, and few bytes a second for that. TLS has to be done with all by
// the first deadline; after one it writes no more.
func (o *outlet) writeLocked(p []byte) (written int, err error) {
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

// writing tells whether something is being written, perhaps to a client that is slow.
func (o *outlet) writing() bool {
	free := o.mu.TryLock()
	if free {
		o.mu.Unlock()
	}
	return !free
}

// maxBuffer is what is kept to be used again.
const maxBuffer = 2 * maxWrite

// writeFrames sends messages at once: a system call costs much more than to copy
// them. It tells how many have gone out whole, and keeps those of a session until
// they are acknowledged. What the connection says itself comes before its session,
// or after the end of it, when nobody comes back for anything.
func (o *outlet) writeFrames(frames [][]byte, ofSession bool) (int, error) {
	buffer, _ := o.buffers.Get().(*[]byte)
	if buffer == nil {
		buffer = new([]byte)
	}
	all := (*buffer)[:0]
	for _, frame := range frames {
		all = append(appendHeader(all, len(frame)), frame...)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if ofSession {
		o.unheard.askSometimes()
	} else {
		o.unheard.frames = nil
	}
	end := o.unheard.written
	_, err := o.writeLocked(all)
	if cap(all) <= maxBuffer {
		*buffer = all
		o.buffers.Put(buffer)
	}
	for i, frame := range frames {
		var header [10]byte
		if end += int64(len(appendHeader(header[:0], len(frame))) + len(frame)); end > o.unheard.written {
			return i, err
		}
		if ofSession {
			o.unheard.add(frame, end)
		}
	}
	return len(frames), err
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

// Buffers of the library, of each connection: messages that are longer are read past
// it, and all that it writes itself fits.
const (
	readBuffer  = 512
	writeBuffer = 256
)

// upgrade gives the library the outlet for the connection, and small buffers in place
// of those of the server, which are made for requests.
type upgrade struct {
	http.ResponseWriter
	outlet *outlet
}

func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, was, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.outlet.Conn, u.outlet.unheard.raw = conn, rawOf(conn)
	early, err := was.Peek(was.Reader.Buffered())
	if err != nil {
		return nil, nil, err
	}
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn), max(readBuffer, len(early)))
	if _, err := r.Peek(len(early)); err != nil { // it is looked for in the buffer
		return nil, nil, err
	}
	return u.outlet, bufio.NewReadWriter(r, bufio.NewWriterSize(u.outlet, writeBuffer)), nil
}
