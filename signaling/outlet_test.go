package signaling

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/signaling/wire"
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

func outletOf(t *testing.T, c net.Conn) *outlet {
	t.Helper()
	o := &outlet{buffers: new(sync.Pool)}
	if err := o.over(c, nil); err != nil {
		t.Fatal(err)
	}
	return o
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
			o := outletOf(t, b)
			n, err := o.writeFrames(frames, true)
			if n != whole || (err == nil) != (whole == len(frames)) || b.writes != 1 {
				t.Errorf("%d bytes: %d frames in %d writes, %v", left, n, b.writes, err)
			}
		}
	}
}

// TestOutletOfASlowClient: who takes a little now and then is written to for as long as
// that takes, and who takes nothing is given up.
func TestOutletOfASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		o := outletOf(t, here)
		frames := [][]byte{make([]byte, 8)}
		go func() {
			for range 12 { // with the headers of two frames, the second one in part
				time.Sleep(writeTimeout - time.Second) // of the bubble
				if _, err := there.Read(make([]byte, 1)); err != nil {
					t.Error(err)
				}
			}
		}()
		began := time.Now()
		if n, err := o.writeFrames(frames, true); n != 1 || err != nil {
			t.Fatalf("%d frames after %v: %v", n, time.Since(began), err)
		}
		began = time.Now()
		n, err := o.writeFrames(frames, true)
		if took := time.Since(began); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || took > 5*writeTimeout {
			t.Errorf("%d frames after %v: %v", n, took, err)
		}
		if o.unheard.written != 12 {
			t.Errorf("%d bytes", o.unheard.written)
		}
	})
}

// TestPingOfASlowClient: while something is being written nobody asks whether the client
// is there, and nobody waits: the ping would have to.
func TestPingOfASlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer func() { _ = there.Close() }()
		o := outletOf(t, here)
		go func() { _, _ = o.Write([]byte("1")) }()
		synctest.Wait()
		for range 3 {
			if !o.ask() || o.control.due() {
				t.Error("it is asked")
			}
		}
		_ = o.Close()
	})
}

// TestPingWithoutAnswer: whoever has got all and does not answer is not there.
func TestPingWithoutAnswer(t *testing.T) {
	here, there := net.Pipe()
	defer func() { _ = there.Close() }()
	o := outletOf(t, here)
	for range 3 {
		if !o.ask() {
			t.Error("who has answered is given up")
		}
		if got := o.control.appendTo(nil); !bytes.Equal(got, []byte{0x89, 0}) {
			t.Errorf("% x is no ping", got)
		}
		o.answered()
	}
	if !o.ask() || o.ask() {
		t.Error("who does not answer is not given up, or before it is asked")
	}
}

// stuck is a client that has said something wrong and reads nothing.
type stuck struct {
	carrier
	writes, over chan struct{}
	once         sync.Once
}

func (s *stuck) due() bool { return false }

func (s *stuck) read(context.Context) ([]byte, error) { return nil, wire.ErrTooLarge }

func (s *stuck) try([][]byte, bool) (int, error) { return 0, errPatience }

func (s *stuck) write(context.Context, [][]byte, bool) (int, error) {
	close(s.writes)
	<-s.over
	return 0, net.ErrClosed
}

func (s *stuck) cut() { s.once.Do(func() { close(s.over) }) }

func (s *stuck) unheard() [][]byte { return nil }

// TestStopOfASlowClient: a node that stops does not wait until all is written.
func TestStopOfASlowClient(t *testing.T) {
	s := &stuck{writes: make(chan struct{}), over: make(chan struct{})}
	c := lonely(t).newConn(s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.writes
		cancel()
	}()
	c.serve(ctx)
}
