package media

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// framed is a packet with its length; the first byte tells what it is.
func framed(first byte, size int) []byte {
	b := make([]byte, frameLen+size)
	binary.BigEndian.PutUint16(b, uint16(size))
	b[frameLen] = first
	return b
}

const rtpFirst, stunFirst = 0x80, 0

// Media do not wait behind others for longer than they are of use; what is no
// media does, up to the bound of the queue. Who writes never waits.
func TestSlowTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newTCPConn(near, func() {}, func(*tcpConn) {})
		write := func(first byte) error {
			_, err := c.Write(framed(first, 1000))
			return err
		}
		began := time.Now()
		for range 50 {
			if err := write(rtpFirst); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(began) != 0 {
			t.Error("who writes has waited")
		}
		time.Sleep(tcpLate + time.Millisecond) // of the bubble
		if err := write(rtpFirst); !errors.Is(err, errSlow) {
			t.Errorf("media behind what waits too long: %v", err)
		}
		n := 0
		for write(stunFirst) == nil {
			n++
		}
		if room := tcpQueue/1002 - 50; n < room || n > room+2 {
			t.Errorf("%d others found room, want about %d", n, room)
		}
		// The receiver reads on: 50 packets of media, the others, and what comes then.
		go func() { _, _ = io.Copy(io.Discard, far) }()
		synctest.Wait()
		if err := write(rtpFirst); err != nil {
			t.Errorf("after the queue was read: %v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := write(stunFirst); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		_ = far.Close()
	})
}

// The goroutine ends with the other side, and with a connection that nobody ever
// wrote to there is none.
func TestTCPConnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := newTCPConn(near, func() {}, func(*tcpConn) {})
		_ = far.Close()
		_, _ = c.Write(framed(stunFirst, 10))
		synctest.Wait()
		if _, err := c.Write(framed(stunFirst, 10)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the other side is gone: %v", err)
		}
		_ = c.Close()
		near, far = net.Pipe()
		_ = newTCPConn(near, func() {}, func(*tcpConn) {}).Close()
		_ = far.Close()
	})
}

// A stranger says little; who was answered, as much as he likes.
func TestStrangersSayLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answered := range []bool{false, true} {
			near, far := net.Pipe()
			c := newTCPConn(near, func() {}, func(*tcpConn) {})
			go func() { _, _ = io.Copy(far, io.LimitReader(zeros{}, 2*strangerBytes)); _ = far.Close() }()
			if answered {
				go func() { _, _ = io.Copy(io.Discard, far) }()
				if _, err := c.Write(framed(stunFirst, 10)); err != nil {
					t.Fatal(err)
				}
			}
			n, err := io.Copy(io.Discard, c)
			if !answered && (!errors.Is(err, errStranger) || n > strangerBytes) {
				t.Errorf("heard %d bytes of a stranger: %v", n, err)
			}
			if answered && (err != nil || n != 2*strangerBytes) {
				t.Errorf("heard %d bytes: %v", n, err)
			}
			_ = c.Close()
			_ = far.Close()
		}
	})
}

// zeros is endless.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// The kernel keeps little of what it cannot send, so that what comes after a
// receiver stood still is not old.
func TestKernelKeepsLittle(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := far.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	keepUnsentShort(near)
	defer near.Close()
	if err := near.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for {
		n, err := near.Write(make([]byte, 1200))
		taken += n
		if err != nil {
			break
		}
	}
	// Besides, what the receiver has not read, and what is on its way.
	if taken > 256<<10 {
		t.Errorf("the kernel took %d bytes", taken)
	}
	t.Logf("the kernel took %d bytes", taken)
}
