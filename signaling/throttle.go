package signaling

import (
	"net/netip"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
)

// Failed hellos of one address. A web client whose ticket is refused comes back
// about once a second, with two hellos each time, so a few in a row are no
// attack.
const (
	failuresAtOnce = 40
	failureForgot  = 2 * time.Second // one after the other
	maxThrottled   = 50_000
	// longestForgot is how long an address is remembered at most, however many nodes
	// it has tried at once: there may be others behind it.
	longestForgot = 2 * failuresAtOnce * failureForgot
)

// throttle slows those down who guess. All nodes tell each other, so that who tries many
// of them is as slow as who tries one.
type throttle struct {
	mu     sync.Mutex
	until  map[netip.Prefix]time.Time // guarded by mu; when all failures are forgotten
	untold map[netip.Prefix]uint32    // guarded by mu; failures here that the others have not heard of
}

func newThrottle() *throttle {
	return &throttle{until: make(map[netip.Prefix]time.Time), untold: make(map[netip.Prefix]uint32)}
}

// allowed tells whether the address may try.
func (t *throttle) allowed(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(t.until[prefixOf(a)]) < failuresAtOnce*failureForgot
}

func (t *throttle) failed(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := prefixOf(a); t.countLocked(p, 1, time.Now()) {
		t.untold[p]++
	}
}

// countLocked is false if there is no room for one more address.
func (t *throttle) countLocked(p netip.Prefix, times uint32, now time.Time) bool {
	until, known := t.until[p]
	if !known && len(t.until) >= maxThrottled {
		return false // many addresses at once: memory is the dearer good
	}
	if until.Before(now) {
		until = now
	}
	until = until.Add(time.Duration(min(times, 2*failuresAtOnce)) * failureForgot)
	if most := now.Add(longestForgot); until.After(most) {
		until = most
	}
	t.until[p] = until
	return true
}

// heard counts what another node has refused.
func (t *throttle) heard(g *signalpb.Guesses, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, from := range g.GetFrom() {
		var p netip.Prefix
		if p.UnmarshalBinary(from.GetPrefix()) == nil && p.IsValid() {
			t.countLocked(p.Masked(), from.GetTimes(), now)
		}
	}
}

// maxGuesses bounds what is told at once; the rest comes next.
const maxGuesses = 1000

// news is what the other nodes are to hear, or nil.
func (t *throttle) news() *signalpb.Guesses {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.untold) == 0 {
		return nil
	}
	g := &signalpb.Guesses{}
	for p, times := range t.untold {
		if len(g.From) == maxGuesses {
			break
		}
		delete(t.untold, p)
		if raw, err := p.MarshalBinary(); err == nil {
			g.From = append(g.From, &signalpb.Guess{Prefix: raw, Times: times})
		}
	}
	return g
}

func (t *throttle) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, until := range t.until {
		if until.Before(now) {
			delete(t.until, p)
		}
	}
}

// tellGuesses tells the other nodes who has guessed here. One that cannot be reached now
// does not hear of it: what is guessed from then on counts there again.
func (h *Hub) tellGuesses() {
	if g := h.throttle.news(); g != nil {
		h.tellPeers(&signalpb.Frame{Body: &signalpb.Frame_Guesses{Guesses: g}})
	}
}

// prefixOf is what one customer of a provider has: an IPv4 address, or a /64.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
