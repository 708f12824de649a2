package signaling

import (
	"slices"

	"github.com/talkd/talkd/signaling/wire"
)

// Bounds of what waits for a client. A client that is connected and does not
// read loses its connection at the first, and resumes; one that is away loses
// its session at the second, as a gap in what it hears would go unnoticed.
const (
	maxQueued      = 4096 // all of a room of 200 say 20 things at once
	maxQueuedAway  = 8192
	maxQueuedBytes = 16 << 20
)

// send queues a frame for the client. It never blocks.
func (s *Session) send(frame []byte) {
	if c := s.enqueue(frame); c != nil {
		c.wakeUp()
	}
}

// enqueue leaves it to the caller to wake the connection that it returns.
func (s *Session) enqueue(frame []byte) *conn {
	if s.as != nil {
		return nil // its owner hears all that is for the room itself
	}
	s.mu.Lock()
	if s.ended || s.overflown {
		s.mu.Unlock()
		return nil
	}
	s.queue = append(s.queue, frame)
	s.queuedBytes += len(frame)
	c, n, most := s.conn, len(s.queue), s.mostQueued
	tooMuch := s.queuedBytes > maxQueuedBytes
	s.overflown = c == nil && (n > maxQueuedAway || tooMuch)
	overflown := s.overflown
	s.mu.Unlock()
	switch {
	case overflown:
		s.hub.metrics.overflow("away")
		s.hub.background(func() { s.end("") }) // the sender may hold the room
	case c != nil && (n > most || tooMuch):
		if c.abandon() {
			s.hub.metrics.overflow("slow")
		}
	default:
		return c
	}
	return nil
}

// unsent is the connection of the client if something waits for it.
func (s *Session) unsent() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	return s.conn
}

func (s *Session) say(m wire.ServerMessage) { s.send(wire.Encode(m)) }

// fail answers a message of the client with an error.
func (s *Session) fail(id string, err error) { s.say(wire.ErrorReply(id, err)) }

// maxWrite is how much is written at once, unless it is one frame.
const maxWrite = 32 << 10

// next takes the oldest frames for the connection, if the connection is still
// that of the session.
func (s *Session) next(c *conn) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c || len(s.queue) == 0 {
		return nil
	}
	n, bytes := 1, len(s.queue[0])
	for n < len(s.queue) && bytes+len(s.queue[n]) <= maxWrite {
		bytes += len(s.queue[n])
		n++
	}
	frames := s.queue[:n:n]
	s.queue = s.queue[n:]
	s.queuedBytes -= bytes
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return frames
}

// giveBack puts frames that did not reach the client in front again.
func (s *Session) giveBack(frames [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(frames) == 0 {
		return
	}
	s.queue = slices.Concat(frames, s.queue)
	for _, frame := range frames {
		s.queuedBytes += len(frame)
	}
}
