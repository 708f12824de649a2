package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/repair"
)

// maxClockAge bounds what another node says about the age of a report.
const maxClockAge = time.Hour

// inLayer is a layer that comes from another node: media.Source and
// media.Feedback.
type inLayer struct {
	pull         *pull
	port         *port
	track, layer uint8
	repair       *repair.Stream
	refresh      refresh
	asks         uint64 // frames sent; of pull.ask

	queue     *queue
	arrived   []*media.Packet // not yet in the queue; of the goroutine that reads the socket
	room      int             // in the queue when the first of them arrived; likewise
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
		queue: newQueue(), closed: make(chan struct{}),
	}
}

// take owns the packet, which is kept until deliver; true when it is the first
// since. It is called by the goroutine that reads the socket.
func (l *inLayer) take(p *media.Packet) (first bool) {
	if first = len(l.arrived) == 0; first {
		l.room = l.queue.room()
	}
	if len(l.arrived) == l.room {
		p.Release()
		l.full.Add(1)
		l.pull.m.stats.drop(dropQueue)
		return false
	}
	l.arrived = append(l.arrived, p)
	l.packets.Add(1)
	l.bytes.Add(uint64(len(p.Raw())))
	if l.repair.Arrived(p.Sequence, p.Arrival) {
		l.pull.poke()
	}
	return first
}

// deliver hands over what was taken.
func (l *inLayer) deliver() {
	l.queue.put(l.arrived)
	clear(l.arrived)
	l.arrived = l.arrived[:0]
}

// Read gives what was queued also after the pull has ended.
func (l *inLayer) Read(batch []*media.Packet) (int, error) {
	if len(batch) == 0 {
		return 0, nil
	}
	for {
		if n := l.queue.take(batch); n > 0 {
			return n, nil
		}
		select {
		case <-l.queue.ready:
		case <-l.closed:
			return 0, ErrClosed
		case <-l.pull.done:
			return 0, l.pull.cause
		}
	}
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
