package relay

import (
	"sync"
	"time"

	"github.com/talkd/talkd/media/repair"
)

// rule is when another node is asked for a lost packet: six times within 0.9 s
// at the first guess of the round trip. A browser's jitter buffer waits for some
// hundred milliseconds.
func rule() repair.Rule {
	return repair.Rule{
		Wait: 8 * time.Millisecond, Asks: 6,
		First: 50 * time.Millisecond, Min: 15 * time.Millisecond, Max: 250 * time.Millisecond,
	}
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
