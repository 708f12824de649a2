package mediatest

import (
	"errors"
	"sync"
	"time"

	"github.com/talkd/talkd/media"
)

// ErrSourceClosed is what a Source returns after Close.
var ErrSourceClosed = errors.New("mediatest: source closed")

// Source is a media.Source fed by a test, and the media.Feedback to it.
type Source struct {
	gen  *Generator
	pool media.Pool

	mu        sync.Mutex
	ready     *sync.Cond
	queue     []*media.Packet // guarded by mu
	closed    bool            // guarded by mu
	keyframes int             // guarded by mu
	nacks     []uint16        // guarded by mu
}

// NewSource returns a source of the generator's packets in the cluster's form.
func NewSource(gen *Generator) *Source {
	s := &Source{gen: gen}
	s.ready = sync.NewCond(&s.mu)
	return s
}

// Push makes n frames readable.
func (s *Source) Push(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		for _, u := range s.gen.Frame() {
			p := Packet(&s.pool, s.gen.Kind, s.gen.Stream, u)
			p.Arrival = time.Now()
			s.queue = append(s.queue, p)
		}
	}
	s.ready.Broadcast()
}

// Packet makes a packet in the cluster's form.
func Packet(pool *media.Pool, kind string, ssrc uint32, u Unit) *media.Packet {
	p := pool.Get()
	b := p.Buffer()
	b[0], b[1] = 0x80, media.PayloadOpus
	if kind == Video {
		b[1] = media.PayloadVP8
	}
	if u.Marker {
		b[1] |= 0x80
	}
	b[2], b[3] = byte(u.Sequence>>8), byte(u.Sequence)
	for i := range 4 {
		b[4+i] = byte(u.Timestamp >> (24 - 8*i))
		b[8+i] = byte(ssrc >> (24 - 8*i))
	}
	n := 12 + copy(b[12:], u.Payload)
	if err := p.Parse(n); err != nil {
		panic(err) // a mistake of the test
	}
	return p
}

// Read implements media.Source.
func (s *Source) Read(batch []*media.Packet) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed {
		s.ready.Wait()
	}
	if len(s.queue) == 0 {
		return 0, ErrSourceClosed
	}
	n := copy(batch, s.queue)
	s.queue = append([]*media.Packet(nil), s.queue[n:]...)
	return n, nil
}

// Close implements media.Source.
func (s *Source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.ready.Broadcast()
	return nil
}

// NACK implements media.Feedback.
func (s *Source) NACK(seqs []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nacks = append(s.nacks, seqs...)
}

// Keyframe implements media.Feedback: the next frame is a keyframe.
func (s *Source) Keyframe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyframes++
	s.gen.Keyframe()
}

// Asked returns how many keyframes were asked for, and which packets.
func (s *Source) Asked() (keyframes int, nacks []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keyframes, append([]uint16(nil), s.nacks...)
}
