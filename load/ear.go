package load

import (
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// Ear notes when which packets of somebody's stream came, over however many
// connections. It looks at the stamps alone: what a new connection does to
// sequence numbers is no gap for who listens.
type Ear struct {
	mu       sync.Mutex
	arrivals []Arrival // guarded by mu; bounded by maxArrivals
}

// Arrival is one packet.
type Arrival struct {
	Number   uint32
	Sent, At time.Duration
}

// maxArrivals is what an ear notes at most: three hours of video.
const maxArrivals = 1 << 20

func (e *Ear) add(s stamp, now time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.arrivals) < maxArrivals {
		e.arrivals = append(e.arrivals, Arrival{s.Number, s.Sent, now})
	}
}

// last is when something came last, 0 for never.
func (e *Ear) last() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.arrivals) == 0 {
		return 0
	}
	return e.arrivals[len(e.arrivals)-1].At
}

// Arrivals are all so far, in the order in which they came.
func (e *Ear) Arrivals() []Arrival {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.arrivals)
}

// Heard is what came of a stream between two moments.
type Heard struct {
	Sent, Lost int // packets sent between the two, and those that never came
	// Gap is the longest time in which nothing came, and From when it began.
	Gap, From time.Duration
	// Silence is the longest run of packets that never came, as the time that
	// they were sent over.
	Silence time.Duration
}

// Between looks at what was sent from one moment to another. sent says when
// each packet was. For the gap the time of arrival counts, for what is lost the
// time of sending.
func (e *Ear) Between(from, to time.Duration, sent []time.Duration) Heard {
	var h Heard
	came := make(map[uint32]bool)
	last := from
	for _, a := range e.Arrivals() {
		came[a.Number] = true
		if a.At < from || a.At > to {
			continue
		}
		if gap := a.At - last; gap > h.Gap {
			h.Gap, h.From = gap, last
		}
		last = max(last, a.At)
	}
	if gap := to - last; gap > h.Gap {
		h.Gap, h.From = gap, last
	}
	begun := time.Duration(-1)
	for n, at := range sent {
		if at < from || at >= to {
			continue
		}
		h.Sent++
		if came[uint32(n)] {
			begun = -1
			continue
		}
		h.Lost++
		if begun < 0 {
			begun = at
		}
		next := at + tick
		if n+1 < len(sent) {
			next = sent[n+1]
		}
		h.Silence = max(h.Silence, next-begun)
	}
	return h
}

// FirstAfter is when the first packet came that was sent after a moment and
// did not come before another, 0 for never.
func (e *Ear) FirstAfter(sent, at time.Duration) time.Duration {
	for _, a := range e.Arrivals() {
		if a.Sent >= sent && a.At >= at {
			return a.At
		}
	}
	return 0
}

// earKey names a stream by who sends it.
type earKey struct {
	source uint16
	kind   Kind
}

// ears are all that somebody hears.
type ears struct {
	mu  sync.Mutex // guards of
	of  map[earKey]*Ear
	now Clock
}

func (e *ears) ear(source uint16, kind Kind) *Ear {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := earKey{source, kind}
	if e.of[k] == nil {
		e.of[k] = new(Ear)
	}
	return e.of[k]
}

// last is when anything came last.
func (e *ears) last() time.Duration {
	e.mu.Lock()
	all := make([]*Ear, 0, len(e.of))
	for _, ear := range e.of {
		all = append(all, ear)
	}
	e.mu.Unlock()
	var last time.Duration
	for _, ear := range all {
		last = max(last, ear.last())
	}
	return last
}

// track hears one track of a connection, whoever's it is.
type track struct {
	ears  *ears
	kind  Kind
	heard chan struct{} // closed at the first packet
	once  sync.Once
}

func newTrack(e *ears, kind Kind) *track {
	return &track{ears: e, kind: kind, heard: make(chan struct{})}
}

// Take notes a packet.
func (t *track) Take(p *rtp.Packet, now time.Duration, _ bool) {
	var s stamp
	var err error
	if t.kind == Audio {
		s, err = readAudio(p.Payload)
	} else {
		s, _, err = readVideo(p.Payload)
	}
	if err != nil {
		return // padding, most likely: what is missing shows
	}
	t.ears.ear(s.Source, t.kind).add(s, now)
	t.once.Do(func() { close(t.heard) })
}

func (t *track) begun() bool {
	select {
	case <-t.heard:
		return true
	default:
		return false
	}
}
