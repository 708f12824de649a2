package signaling

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// outlet is where all goes out that a WebSocket sends: messages as we frame them, and
// what the library has to say of the connection itself, each of which is one write.
type outlet struct {
	net.Conn
	buffers *sync.Pool

	mu sync.Mutex // held while something is written
}

// Write is for the library.
func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.SetWriteDeadline(time.Now().Add(writeTimeout)) // on a closed connection, which Write says too
	n, err := o.Conn.Write(p)
	// TLS writes by itself now and then.
	_ = o.SetWriteDeadline(time.Time{})
	return n, err
}

// maxBuffer is what is kept to be used again.
const maxBuffer = 2 * maxWrite

// writeFrames sends messages at once: a system call costs much more than to copy
// them. It tells how many have gone out whole.
func (o *outlet) writeFrames(frames [][]byte) (int, error) {
	kept, _ := o.buffers.Get().(*[]byte)
	if kept == nil {
		kept = new([]byte)
	}
	all := (*kept)[:0]
	for _, frame := range frames {
		all = append(appendHeader(all, len(frame)), frame...)
	}
	sent, err := o.Write(all)
	if cap(all) <= maxBuffer {
		*kept = all
		o.buffers.Put(kept)
	}
	if err == nil {
		return len(frames), nil
	}
	for i, frame := range frames {
		if sent -= len(appendHeader(nil, len(frame))) + len(frame); sent < 0 {
			return i, err
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
	u.outlet.Conn = conn
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
