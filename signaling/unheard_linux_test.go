package signaling

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/tlsout"
)

// overBoth tests with an outlet and the other end of its connection, without TLS and with
// TLS of the node.
func overBoth(t *testing.T, test func(t *testing.T, o *outlet, there net.Conn)) {
	t.Helper()
	sealed := httptest.NewTLSServer(nil)
	defer sealed.Close()
	for name, config := range map[string]*tls.Config{"TCP": nil, "TLS": sealed.TLS} {
		t.Run(name, func(t *testing.T) {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			there, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if config != nil {
				l = tlsout.NewListener(l, config)
				there = tls.Client(there, &tls.Config{InsecureSkipVerify: true})
			}
			here, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if config != nil {
				done := make(chan error, 1)
				go func() { done <- here.(*tls.Conn).HandshakeContext(t.Context()) }()
				if err := errors.Join(there.(*tls.Conn).HandshakeContext(t.Context()), <-done); err != nil {
					t.Fatal(err)
				}
			}
			o := outletOf(t, here)
			if (o.tls != nil) != (config != nil) || o.unheard.fd == 0 {
				t.Fatal("the outlet does not know its socket")
			}
			t.Cleanup(func() {
				_ = there.Close()
				_ = o.Close()
			})
			test(t, o, there)
		})
	}
}

// numbered are frames of some bytes.
func numbered(from, n, size int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = fmt.Appendf(nil, "%0*d", size, from+i)
	}
	return frames
}

// hear reads as many bytes as the frames make, and says so: what comes back has the
// acknowledgement with it.
func hear(t *testing.T, o *outlet, there net.Conn, frames [][]byte) {
	t.Helper()
	size := 0
	for _, f := range frames {
		size += len(appendHeader(nil, len(f))) + len(f)
	}
	_, err := io.ReadFull(there, make([]byte, size))
	if err == nil {
		_, err = there.Write([]byte{0})
	}
	if err == nil {
		_, err = io.ReadFull(o.Conn, make([]byte, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, o *outlet, frames [][]byte) {
	t.Helper()
	if n, err := o.writeFrames(frames, true); n != len(frames) || err != nil {
		t.Fatalf("%d of %d frames: %v", n, len(frames), err)
	}
}

// TestUnheard: what was written after the client closed its socket comes back once,
// and nothing of what it has got.
func TestUnheard(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		if _, err := o.writeFrames(numbered(0, 1, 300), false); err != nil { // hello
			t.Fatal(err)
		}
		frames := numbered(0, 7, 300)
		mustWrite(t, o, frames[:4])
		hear(t, o, there, append(numbered(0, 1, 300), frames[:4]...))
		_ = there.Close()
		if _, err := o.Read(make([]byte, 1)); err == nil {
			t.Fatal("there is something to read")
		}
		mustWrite(t, o, frames[4:]) // one write, which the dead socket takes
		if got := o.takeUnheard(); !slices.EqualFunc(got, frames[4:], slices.Equal) {
			t.Errorf("%q have come back", got)
		}
		if got := o.takeUnheard(); len(got) != 0 {
			t.Errorf("%q have come back twice", got)
		}
	})
}

// TestUnheardWhileWriting: of a client that does not read the connection is closed
// during a write. What the client's kernel has, what comes back, and what was not
// written are together all there was, in order, and the client gets no byte of what
// comes back.
func TestUnheardWhileWriting(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		const size = 1000 - 4 // with its header
		frames := numbered(0, 20_000, size)
		wrote, fd := make(chan int), o.unheard.fd // who writes holds the lock for long
		go func() {
			n, err := 0, error(nil)
			for err == nil && n < len(frames) {
				var whole int
				whole, err = o.writeFrames(frames[n:min(n+32, len(frames))], true)
				n += whole
			}
			wrote <- n
		}()
		// It stands still when the client's kernel and ours are full.
		for last, now := int64(-1), int64(0); last != now || now == 0; {
			time.Sleep(50 * time.Millisecond) // polling: nothing tells that nothing goes on
			n, err := unacknowledged(fd)
			if err != nil {
				t.Fatal(err)
			}
			last, now = now, int64(n)
		}
		back := o.takeUnheard()
		n := <-wrote
		got, _ := io.ReadAll(there) // ends with a reset
		if len(back) == 0 || n == len(frames) {
			t.Fatalf("%d frames were written, %d came back: the test tests nothing", n, len(back))
		}
		heard := len(got) / (size + 4)
		if heard+len(back) != n || !slices.EqualFunc(back, frames[heard:n], slices.Equal) {
			t.Errorf("%d frames written, %d came to the client, %d came back", n, heard, len(back))
		}
	})
}

// TestUnheardRest: who only brings to its end what has been begun, as a writer does that
// looks once more, or before the connection ends, gives up nothing of the session.
func TestUnheardRest(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		_ = there.Close()
		if _, err := o.Read(make([]byte, 1)); err == nil {
			t.Fatal("there is something to read")
		}
		frames := numbered(0, 3, 300)
		mustWrite(t, o, frames) // which the dead socket takes
		if n, err := o.writeFrames(nil, false); n != 0 || err != nil {
			t.Errorf("%d of no frames: %v", n, err)
		}
		if got := o.takeUnheard(); !slices.EqualFunc(got, frames, slices.Equal) {
			t.Errorf("%q have come back", got)
		}
	})
}

// TestUnheardForgotten: nothing is kept of what has been acknowledged, little while
// much is said, and the kernel is not asked each time.
func TestUnheardForgotten(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		most, asked, at := 0, 0, int64(0)
		const rounds = 500
		for i := range rounds {
			frames := numbered(i, 1, 500)
			mustWrite(t, o, frames)
			hear(t, o, there, frames)
			most = max(most, len(o.unheard.frames))
			if o.unheard.askedAt != at {
				asked, at = asked+1, o.unheard.askedAt
			}
		}
		if most > askAfterFrames+1 || asked > rounds/askAfterFrames+1 {
			t.Errorf("%d frames were kept at once, and the kernel was asked %d times", most, asked)
		}
		o.answered()
		if o.unheard.frames != nil {
			t.Errorf("%d frames are kept while nothing is said", len(o.unheard.frames))
		}
		if got := o.takeUnheard(); len(got) != 0 {
			t.Errorf("%q have come back", got)
		}
	})
}

// stuff writes frames until the socket takes nothing more, and gives those of which
// it has taken something; with TLS all.
func stuff(t *testing.T, o *outlet, size int) (frames [][]byte) {
	t.Helper()
	frames = numbered(0, 20_000, size)
	n, err := o.tryFrames(frames, true)
	if !errors.Is(err, errPatience) || (n == len(frames)) != (o.tls != nil) || len(o.begun) == 0 {
		t.Fatalf("%d frames were taken, and %d bytes are to follow: %v", n, len(o.begun), err)
	}
	return frames[:n]
}

// inFrames are frames as they go out without TLS.
func inFrames(frames [][]byte) (all []byte) {
	for _, f := range frames {
		all = append(appendHeader(all, len(f)), f...)
	}
	return all
}

// TestTry: a frame that the kernel has taken in part is written to its end before all
// else, then pings and pongs, for which nobody waits.
func TestTry(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		frames := stuff(t, o, 993)
		// The client's kernel may have made room meanwhile.
		again, err := o.tryFrames(frames, true)
		if !errors.Is(err, errPatience) {
			t.Fatalf("%d more frames were taken: %v", again, err)
		}
		const closing, more = "the library closes", 10
		pings := []byte{0x89, 0, 0x8a, 2, 'b', 'c'}
		o.control.answer([]byte("a"))
		o.control.answer([]byte("bc")) // in place of the first
		o.control.ping = true
		if n, err := o.tryFrames(nil, false); n != 0 || !errors.Is(err, errPatience) || o.control.due() {
			t.Errorf("pings do not wait in line: %d frames, %v", n, err)
		}
		go func() {
			_, err := o.Write([]byte(closing))
			if err == nil {
				_, err = o.writeFrames(frames[:more], true)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		want := slices.Concat(inFrames(frames), inFrames(frames[:again]), pings, []byte(closing), inFrames(frames[:more]))
		got := make([]byte, len(want))
		if _, err := io.ReadFull(there, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("what came is not what was written: %v", err)
		}
	})
}

// TestTryBroken: of what the kernel has taken as far as it could, that comes back which
// has not come to the client whole.
func TestTryBroken(t *testing.T) {
	overBoth(t, func(t *testing.T, o *outlet, there net.Conn) {
		const size = 993
		frames := stuff(t, o, size)
		back := o.takeUnheard()
		got, _ := io.ReadAll(there) // ends with a reset
		heard := len(got) / (size + len(appendHeader(nil, size)))
		if heard == 0 || len(back) == 0 || !slices.EqualFunc(back, frames[heard:], slices.Equal) {
			t.Errorf("%d frames were taken, %d came to the client, %d came back", len(frames), heard, len(back))
		}
	})
}
