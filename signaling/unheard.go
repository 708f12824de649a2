package signaling

import (
	"net"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/quiet"
)

// Of what has been written the kernel is asked when that much more is kept than it
// was then, and after each ping: not at each write, and nothing is kept of a
// session where nothing is said.
const (
	askAfterFrames = 32
	askAfterBytes  = 64 << 10
)

// unheard are the frames of a session which have been written and which the other
// end's TCP has not acknowledged: of a connection that breaks the next one sends
// them again. Only the kernel knows, and only about bytes.
type unheard struct {
	fd      int            // of the socket; 0: it does not tell, or is closed; nothing more is kept
	written int64          // to the connection, by whomever
	frames  []writtenFrame // oldest first

	// As it was when the kernel was asked last.
	kept    int
	askedAt int64
}

// writtenFrame ends before that byte of the connection.
type writtenFrame struct {
	frame []byte
	end   int64
}

func (u *unheard) add(frame []byte, end int64) {
	if u.fd != 0 {
		u.frames = append(u.frames, writtenFrame{frame, end})
	}
}

// askSometimes keeps what is kept near to what the kernel has.
func (u *unheard) askSometimes() {
	if len(u.frames)-u.kept >= askAfterFrames || len(u.frames) > 0 && u.written-u.askedAt >= askAfterBytes {
		u.ask()
	}
}

// acknowledged is how much of what was written the other end's TCP has; less than nothing
// if nobody tells.
func (u *unheard) acknowledged() int64 {
	if u.fd == 0 {
		return -1
	}
	waits, err := unacknowledged(u.fd)
	if err != nil {
		return -1
	}
	return u.written - int64(waits)
}

// ask forgets what has been acknowledged. If the kernel does not tell that is all:
// better once too few than twice.
func (u *unheard) ask() {
	if u.fd == 0 {
		return
	}
	if len(u.frames) > 0 {
		acknowledged := u.acknowledged()
		if acknowledged < 0 {
			acknowledged = u.written
		}
		n := 0
		for n < len(u.frames) && u.frames[n].end <= acknowledged {
			n++
		}
		u.frames = slices.Delete(u.frames, 0, n)
	}
	u.kept, u.askedAt = len(u.frames), u.written
}

// settleLocked forgets what the client has got by now. It tells how much that is, and
// whether it is all.
func (o *outlet) settleLocked() (acknowledged int64, all bool) {
	o.unheard.ask()
	if len(o.unheard.frames) == 0 {
		o.unheard.frames = nil
	}
	acknowledged = o.unheard.acknowledged()
	return acknowledged, acknowledged == o.unheard.written
}

// A client that has everything may acknowledge it that much later, which systems do
// to save packets: one that resumes while its connection is open still.
const (
	lateAcknowledgement = 250 * time.Millisecond
	askStep             = 10 * time.Millisecond
)

// Close asks the kernel for the last time, when nothing is being written any more.
// What it still has it must not send: it would come twice.
func (o *outlet) Close() error {
	o.closing.Store(true)
	_ = o.socket.SetWriteDeadline(time.Unix(1, 0)) // who writes stops at once; of a closed one nobody does
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return net.ErrClosed
	}
	o.closed = true
	o.unheard.ask()
	for began := time.Now(); len(o.unheard.frames) > 0 && time.Since(began) < lateAcknowledgement && established(o.unheard.fd); {
		time.Sleep(askStep) // there is nothing to be told by
		o.unheard.ask()
	}
	if len(o.unheard.frames) == 0 {
		o.sayEndLocked()
	} else if tcp, ok := o.socket.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // of a connection that is reset already there is nothing left to send
	}
	o.unheard.fd = 0 // the number may be that of another one soon
	return o.Conn.Close()
}

// sayEndLocked is for TLS. It does not wait: that the connection is over is seen without.
func (o *outlet) sayEndLocked() {
	if o.tls == nil || o.unheard.fd == 0 || len(o.begun) > 0 {
		return
	}
	if end, err := o.tls.SealEnd(); err == nil {
		_, _ = quiet.Send(o.unheard.fd, end)
	}
}

// takeUnheard closes the outlet and gives, once, what has to be sent again.
func (o *outlet) takeUnheard() [][]byte {
	_ = o.Close() // it may be closed already
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := make([][]byte, len(o.unheard.frames))
	for i, f := range o.unheard.frames {
		frames[i] = f.frame
	}
	o.unheard.frames = nil
	return frames
}
