package signaling

import (
	"net/netip"
	"sync"
	"time"
)

// Failed hellos of one address. A web client whose ticket is refused comes back
// about once a second, with two hellos each time, so a few in a row are no
// attack.
const (
	failuresAtOnce = 40
	failureForgot  = 2 * time.Second // one after the other
	maxThrottled   = 50_000
)

// throttle slows those down who guess.
type throttle struct {
	mu    sync.Mutex
	until map[netip.Prefix]time.Time // guarded by mu; when all failures are forgotten
}

func newThrottle() *throttle { return &throttle{until: make(map[netip.Prefix]time.Time)} }

// allowed tells whether the address may try.
func (t *throttle) allowed(a netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Until(t.until[prefixOf(a)]) < failuresAtOnce*failureForgot
}

func (t *throttle) failed(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, now := prefixOf(a), time.Now()
	until, known := t.until[p]
	if !known && len(t.until) >= maxThrottled {
		return // many addresses at once: memory is the dearer good
	}
	if until.Before(now) {
		until = now
	}
	t.until[p] = until.Add(failureForgot)
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
