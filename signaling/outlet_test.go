package signaling

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// brittle is a connection that breaks after some bytes.
type brittle struct {
	net.Conn
	left   int
	writes int
}

func (b *brittle) SetWriteDeadline(time.Time) error { return nil }

func (b *brittle) Write(p []byte) (int, error) {
	b.writes++
	n := min(len(p), b.left)
	if b.left -= n; n < len(p) {
		return n, errors.New("broken")
	}
	return n, nil
}

// TestOutlet: many messages are one write, and when it fails those are known that have
// gone out whole.
func TestOutlet(t *testing.T) {
	frames := [][]byte{make([]byte, 125), make([]byte, 126), make([]byte, 65535), make([]byte, 65536), {}}
	ends := []int{127, 257, 65796, 131342, 131344}
	for whole := range len(frames) + 1 {
		for _, more := range []int{0, 1} {
			left := more
			if whole > 0 {
				left += ends[whole-1]
			}
			b := &brittle{left: left}
			o := &outlet{Conn: b, buffers: new(sync.Pool)}
			n, err := o.writeFrames(frames, true)
			if n != whole || (err == nil) != (whole == len(frames)) || b.writes != 1 {
				t.Errorf("%d bytes: %d frames in %d writes, %v", left, n, b.writes, err)
			}
		}
	}
}
