package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// A lost packet is asked for until it comes or is of no use any more: a
// browser's jitter buffer waits for some hundred milliseconds.
const (
	// reorderWait lets a packet come that was only overtaken.
	reorderWait = 8 * time.Millisecond
	// maxAsks spreads over 0.8 s at the first guess of the round trip.
	maxAsks = 6
	// maxPending bounds what is missing at once per layer; the oldest is given up.
	maxPending = 512
	// reach is how far back a packet is worth asking for: the history of a layer.
	reach = 1024

	firstRetry = 50 * time.Millisecond
	minRetry   = 15 * time.Millisecond
	maxRetry   = 250 * time.Millisecond
)

// repair knows which packets of a layer are missing, by their RTP sequence
// numbers, and when to ask for each. What is missing here and what listeners
// ask for is merged.
type repair struct {
	outcomes *outcomes

	mu      sync.Mutex // guards what follows
	started bool
	highest uint16
	pending []missing     // in the order of noticing
	trip    time.Duration // smoothed time from asking to arrival, 0 at first
}

// outcomes counts what became of missing packets.
type outcomes struct {
	asked, repaired, abandoned atomic.Uint64
}

type missing struct {
	seq   uint16
	asks  uint8
	asked time.Time // last
	due   time.Time
}

// arrived takes note of a packet; true when others were found missing.
func (r *repair) arrived(seq uint16, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ahead := int(int16(seq - r.highest))
	switch {
	case !r.started:
		r.started, r.highest = true, seq
	case ahead > maxPending || ahead <= -reach:
		// The publisher numbers anew, or the way was down for long.
		r.outcomes.abandoned.Add(uint64(len(r.pending)))
		r.pending = r.pending[:0]
		r.highest = seq
	case ahead > 0:
		for s := r.highest + 1; s != seq; s++ {
			r.addLocked(missing{seq: s, due: now.Add(reorderWait)})
		}
		r.highest = seq
		return ahead > 1
	default:
		r.foundLocked(seq, now)
	}
	return false
}

// want takes note of packets that a listener misses; true when one of them is
// to be asked for now.
func (r *repair) want(seqs []uint16, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var news bool
	for _, seq := range seqs {
		if ahead := int(int16(seq - r.highest)); !r.started || ahead > 0 || ahead <= -reach {
			continue
		}
		i := r.indexLocked(seq)
		switch {
		case i < 0:
			r.addLocked(missing{seq: seq, due: now})
		case r.pending[i].asks == 0:
			r.pending[i].due = now
		default:
			continue // asked for already
		}
		news = true
	}
	return news
}

// due appends to seqs what is to be asked for now, as far as there is room.
func (r *repair) due(now time.Time, seqs []uint16) []uint16 {
	r.mu.Lock()
	defer r.mu.Unlock()
	keep := r.pending[:0]
	for _, m := range r.pending {
		if !m.due.After(now) && len(seqs) < cap(seqs) {
			if m.asks == maxAsks {
				r.outcomes.abandoned.Add(1)
				continue
			}
			seqs = append(seqs, m.seq)
			r.outcomes.asked.Add(1)
			m.asks++
			m.asked, m.due = now, now.Add(r.retryLocked(m.asks))
		}
		keep = append(keep, m)
	}
	r.pending = keep
	return seqs
}

// next is when something is due; zero when nothing is missing.
func (r *repair) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	var at time.Time
	for _, m := range r.pending {
		at = earlier(at, m.due)
	}
	return at
}

func (r *repair) addLocked(m missing) {
	if len(r.pending) == maxPending {
		r.outcomes.abandoned.Add(1)
		r.pending = append(r.pending[:0], r.pending[1:]...)
	}
	r.pending = append(r.pending, m)
}

func (r *repair) foundLocked(seq uint16, now time.Time) {
	i := r.indexLocked(seq)
	if i < 0 {
		return
	}
	// Only what was asked for once tells which question it answers (Karn).
	if m := r.pending[i]; m.asks == 1 {
		trip := now.Sub(m.asked)
		if r.trip == 0 {
			r.trip = trip
		}
		r.trip += (trip - r.trip) / 8
	}
	if r.pending[i].asks > 0 {
		r.outcomes.repaired.Add(1)
	}
	r.pending = append(r.pending[:i], r.pending[i+1:]...)
}

func (r *repair) indexLocked(seq uint16) int {
	for i := range r.pending {
		if r.pending[i].seq == seq {
			return i
		}
	}
	return -1
}

// retryLocked is the time until the next ask: half a round trip more than one,
// doubled from ask to ask.
func (r *repair) retryLocked(asks uint8) time.Duration {
	wait := firstRetry
	if r.trip > 0 {
		wait = max(minRetry, r.trip+r.trip/2)
	}
	return min(maxRetry, wait<<(asks-1))
}

// A keyframe request is a datagram and may be lost: it is sent some times. The
// publisher's edge merges them, and other listeners' with them.
const (
	refreshCopies  = 3
	refreshSpacing = 30 * time.Millisecond
)

// refresh is a keyframe request under way.
type refresh struct {
	mu   sync.Mutex // guards what follows
	left int
	at   time.Time
}

// want starts a request; false when one is under way.
func (r *refresh) want(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left > 0 {
		return false
	}
	r.left, r.at = refreshCopies, now
	return true
}

// due tells whether a copy is to be sent now.
func (r *refresh) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 || r.at.After(now) {
		return false
	}
	r.left--
	r.at = now.Add(refreshSpacing)
	return true
}

// next is when a copy is due; zero when no request is under way.
func (r *refresh) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		return time.Time{}
	}
	return r.at
}

// earlier takes the earlier of two times, of which each may be zero for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
