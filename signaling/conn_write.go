package signaling

import (
	"errors"
	"runtime"
	"sync"

	"github.com/coder/websocket"
)

// writers write what waits for clients. To wake a goroutine for a client costs half
// as much as to write to it, so that a few go from one to the next and wait for
// none: who has to be waited for gets a goroutine until there is nothing to write.
type writers struct {
	running sync.WaitGroup

	mu   sync.Mutex
	due  []*conn // guarded by mu; each once
	busy int     // guarded by mu
}

// perWriter is how many connections are due before one more writer helps. To write
// to as many takes a millisecond.
const perWriter = 128

// add takes connections that want a writer.
func (w *writers) add(conns ...*conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = append(w.due, conns...)
	for w.busy < min((len(w.due)+perWriter-1)/perWriter, runtime.GOMAXPROCS(0)) {
		w.busy++
		w.running.Go(w.run)
	}
}

func (w *writers) run() {
	for c := w.next(); c != nil; c = w.next() {
		if c.writeSome() {
			w.add(c) // after the others
		}
	}
}

// next is nil, once for each writer, when none is due.
func (w *writers) next() *conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.due) == 0 {
		w.due = nil
		w.busy--
		return nil
	}
	c := w.due[0]
	w.due = w.due[1:]
	return c
}

// wakeUp lets a writer write what waits.
func (c *conn) wakeUp() {
	if c.wantsWriter() {
		c.hub.writers.add(c)
	}
}

// writeNow writes what waits. It is for who has nothing else to do, which is the reader
// after an answer: no writer has to be woken for it.
func (c *conn) writeNow() {
	if c.wantsWriter() && c.writeSome() && c.writeSome() {
		c.hub.writers.add(c) // there is more
	}
}

// wantsWriter says that something waits. If it is true the caller finds a writer.
func (c *conn) wantsWriter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more = true
	if !c.served || c.stopped || c.writes {
		return false
	}
	c.writes = true
	c.writer.Add(1)
	return true
}

// errPatience is for what is written by who may wait.
var errPatience = errors.New("the client has to be waited for")

// writeSome writes once, without waiting, and tells whether the writer comes again.
func (c *conn) writeSome() bool {
	frames, from, status := c.next()
	switch {
	case len(frames) > 0 || c.carrier.due():
		n, err := c.carrier.try(frames, from != nil)
		if errors.Is(err, errPatience) {
			go c.writeOn(frames[n:], from)
			return false
		}
		if err == nil {
			return true
		}
		c.broken(frames[n:], from)
	case status != 0: // to part takes as long as the client does
		go c.writeOn(nil, nil)
		return false
	case !c.rest():
		return true
	}
	c.writer.Done()
	return false
}

// writeOn writes with patience: the frames, what of others has been begun, and what
// else waits, until nothing does.
func (c *conn) writeOn(frames [][]byte, from *Session) {
	defer c.writer.Done()
	for {
		if n, err := c.carrier.write(c.ctx, frames, from != nil); err != nil {
			c.broken(frames[n:], from)
			return
		}
		var status websocket.StatusCode
		frames, from, status = c.next()
		switch {
		case len(frames) > 0 || c.carrier.due():
		case status != 0:
			if status != statusRestart || c.page || c.via != "" {
				c.carrier.close(status)
			}
			c.stop()
			return
		case c.rest():
			return
		}
	}
}

// broken tells that frames could not be written.
func (c *conn) broken(frames [][]byte, from *Session) {
	if from != nil {
		from.giveBack(frames)
	}
	c.stop() // a reader that waits for a client that is gone would wait for ever
}

// stop lets nothing more be read or written.
func (c *conn) stop() {
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.cancel()
}

// rest tells whether the writer may end, as nothing has come since it looked.
func (c *conn) rest() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = c.more && !c.stopped
	return !c.writes
}

// next is what is written next: what the connection itself says, what its session
// does, what comes through a front. Without anything it may be how the connection
// ends.
func (c *conn) next() (frames [][]byte, from *Session, status websocket.StatusCode) {
	c.mu.Lock()
	c.more = false
	if c.stopped {
		c.mu.Unlock()
		return nil, nil, 0
	}
	if frames, c.direct = c.direct, nil; len(frames) > 0 {
		c.mu.Unlock()
		return frames, nil, 0
	}
	s, t, status := c.session, c.tunnel, c.status
	c.mu.Unlock()
	if s != nil {
		if frames = s.next(c); len(frames) > 0 {
			return frames, s, 0
		}
	}
	if t != nil {
		select {
		case frame := <-t.relayed:
			return [][]byte{frame}, nil, 0
		default:
		}
	}
	return nil, nil, status
}
