package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/repair"
)

const (
	// queueLen packets wait for the layer's goroutine: a keyframe, or half a
	// second of a good video. A packet that finds the queue full is lost, and
	// asked for again.
	queueLen = 512
	// maxClockAge bounds what another node says about the age of a report.
	maxClockAge = time.Hour
)

// inLayer is a layer that comes from another node: media.Source and
// media.Feedback.
type inLayer struct {
	pull         *pull
	port         *port
	track, layer uint8
	repair       *repair.Stream
	refresh      refresh
	asks         uint64 // frames sent; of pull.ask

	queue     chan *media.Packet
	closing   sync.Once
	closed    chan struct{}
	mu        sync.Mutex
	clock     media.Clock // guarded by mu
	clockSeen bool        // guarded by mu

	packets, bytes, full atomic.Uint64
}

func newInLayer(p *pull, o *port, track, layer uint8) *inLayer {
	return &inLayer{
		pull: p, port: o, track: track, layer: layer, repair: repair.New(rule(), &p.m.stats.repairs),
		queue: make(chan *media.Packet, queueLen), closed: make(chan struct{}),
	}
}

// take owns the packet. It is called by the goroutine that reads the socket.
func (l *inLayer) take(p *media.Packet) {
	seq, size, now := p.Sequence, len(p.Raw()), p.Arrival // the packet is the reader's once it is queued
	select {
	case l.queue <- p:
	default:
		p.Release()
		l.full.Add(1)
		l.pull.m.stats.drop(dropQueue)
		return
	}
	l.packets.Add(1)
	l.bytes.Add(uint64(size))
	if l.repair.Arrived(seq, now) {
		l.pull.poke()
	}
}

// Read gives what was queued also after the pull has ended.
func (l *inLayer) Read(batch []*media.Packet) (int, error) {
	if len(batch) == 0 {
		return 0, nil
	}
	n := l.drain(batch)
	if n > 0 {
		return n, nil
	}
	select {
	case batch[0] = <-l.queue:
		return 1 + l.drain(batch[1:]), nil
	case <-l.closed:
		return 0, ErrClosed
	case <-l.pull.done:
		return 0, l.pull.cause
	}
}

func (l *inLayer) drain(batch []*media.Packet) (n int) {
	for n < len(batch) {
		select {
		case batch[n] = <-l.queue:
			n++
		default:
			return n
		}
	}
	return n
}

// Close ends Read; the flow ends with the pull.
func (l *inLayer) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return nil
}

// NACK asks the publisher's edge for packets, unless that was done already.
func (l *inLayer) NACK(seqs []uint16) {
	if l.repair.Want(seqs, time.Now()) {
		l.pull.poke()
	}
}

// Keyframe asks the publisher's edge for a keyframe.
func (l *inLayer) Keyframe() {
	if l.refresh.want(time.Now()) {
		l.pull.poke()
	}
}

func (l *inLayer) setClock(c media.Clock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock, l.clockSeen = c, true
}

func (l *inLayer) clockNow() (media.Clock, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.clock, l.clockSeen
}
