package media

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media/rtpbuf"
)

const (
	// history is the number of packets of a layer that can be sent again: about
	// 8 s of a video of 1 Mbit/s.
	history = 1024
	// batchSize bounds what is read from a Source at once.
	batchSize = 64
	// keyframeInterval is the shortest time between two keyframe requests of a
	// layer: an encoder that is asked more often spends its bitrate on them.
	keyframeInterval = 500 * time.Millisecond
	// nackUpstream bounds how many packets of one request are asked upstream.
	nackUpstream = 64
)

// layer is the unit of forwarding: one encoding of one track. Its goroutine
// (pump) reads the source, keeps the history and writes to all sinks.
type layer struct {
	track, index uint8
	video        bool
	source       Source
	upstream     Feedback
	clock        func() (Clock, bool)
	ring         *rtpbuf.Ring[*Packet]
	stats        *traffic

	mu    sync.Mutex             // guards changes of sinks
	sinks atomic.Pointer[[]Sink] // read by pump without a lock
	asked keyframeGate
}

// Attachment is a Sink of a layer, and the Feedback to it.
type Attachment struct {
	l    *layer
	sink Sink
	once sync.Once
}

func (l *layer) attach(sink Sink) *Attachment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var next []Sink
	if old := l.sinks.Load(); old != nil {
		next = append(next, *old...)
	}
	next = append(next, sink)
	l.sinks.Store(&next)
	return &Attachment{l: l, sink: sink}
}

// Close ends the flow to the sink. A Write that is under way may still finish
// after it.
func (a *Attachment) Close() {
	a.once.Do(func() {
		a.l.mu.Lock()
		defer a.l.mu.Unlock()
		var next []Sink
		for _, s := range *a.l.sinks.Load() {
			if s != a.sink {
				next = append(next, s)
			}
		}
		a.l.sinks.Store(&next)
	})
}

// NACK writes the packets that are in the layer's history to the sink again,
// in one batch; the others are asked upstream.
func (a *Attachment) NACK(seqs []uint16) {
	found := a.l.recall(seqs, make([]*Packet, 0, len(seqs)))
	if len(found) == 0 {
		return
	}
	a.sink.Write(found)
	for _, p := range found {
		p.Release()
	}
}

// Keyframe asks the publisher for a keyframe; requests of all sinks are merged.
func (a *Attachment) Keyframe() { a.l.keyframe() }

// Clock is the mapping of the publisher's last sender report.
func (a *Attachment) Clock() (Clock, bool) { return a.l.clockNow() }

// recall appends the packets of the history to found, each with a reference
// for the caller, and asks upstream for the others.
func (l *layer) recall(seqs []uint16, found []*Packet) []*Packet {
	var missing []uint16
	for _, seq := range seqs {
		if p, ok := l.ring.Get(seq); ok {
			found = append(found, p)
		} else if len(missing) < nackUpstream {
			missing = append(missing, seq)
		}
	}
	if len(missing) > 0 {
		l.upstream.NACK(missing)
	}
	return found
}

func (l *layer) clockNow() (Clock, bool) {
	if l.clock == nil {
		return Clock{}, false
	}
	return l.clock()
}

func (l *layer) keyframe() {
	if l.video && l.asked.open(time.Now()) {
		l.upstream.Keyframe()
	}
}

// pump runs until the source fails, whose error it returns.
func (l *layer) pump() error {
	defer l.ring.Clear()
	batch := make([]*Packet, batchSize)
	for {
		n, err := l.source.Read(batch)
		if n > 0 {
			l.forward(batch[:n])
		}
		if err != nil {
			return err
		}
	}
}

// forward owns the references of the batch.
func (l *layer) forward(batch []*Packet) {
	fresh := batch[:0]
	var bytes int
	for _, p := range batch {
		if !l.ring.Put(p.Sequence, p) {
			p.Release()
			continue
		}
		bytes += p.n
		fresh = append(fresh, p)
	}
	l.stats.in(len(fresh), bytes)
	if sinks := l.sinks.Load(); sinks != nil {
		for _, s := range *sinks {
			s.Write(fresh)
		}
	}
	for i, p := range fresh {
		p.Release()
		fresh[i] = nil
	}
}

// keyframeGate lets one request per keyframeInterval through.
type keyframeGate struct {
	mu   sync.Mutex
	last time.Time // guarded by mu
}

func (g *keyframeGate) open(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() && now.Sub(g.last) < keyframeInterval {
		return false
	}
	g.last = now
	return true
}
