package api

import (
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Wrong passwords of one user from one network: the first ones cost nothing,
// then each doubles the pause. Who is right, or away long enough, starts anew.
const (
	freeTries     = 5
	firstPause    = time.Second
	longestPause  = 5 * time.Minute
	forgetAfter   = 30 * time.Minute
	maxThrottled  = 10_000
	evictionProbe = 16
)

// throttle counts per user and network, on this node. Nobody is locked out
// everywhere: the same user from another network has tries of his own.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex // guards entries
	entries map[throttleKey]tries
}

type throttleKey struct {
	user    string
	network netip.Prefix
}

type tries struct {
	count int
	until time.Time // no try before
	last  time.Time
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, entries: make(map[throttleKey]tries)}
}

// take allows a try, or tells how long to wait. The try counts as wrong until
// forgive or undo: those made at the same time count too.
func (t *throttle) take(k throttleKey) (wait time.Duration) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[k]
	if now.Sub(e.last) >= forgetAfter {
		e = tries{}
	}
	if wait = e.until.Sub(now); wait > 0 {
		return wait
	}
	if _, known := t.entries[k]; !known && len(t.entries) >= maxThrottled {
		t.evictLocked()
	}
	e.count++
	e.last = now
	if over := e.count - freeTries; over >= 0 {
		e.until = now.Add(pauseAfter(over))
	}
	t.entries[k] = e
	return 0
}

// pauseAfter is firstPause, doubled n times.
func pauseAfter(n int) time.Duration {
	if n > 20 {
		return longestPause
	}
	return min(firstPause<<n, longestPause)
}

// forgive forgets the tries of somebody who was right.
func (t *throttle) forgive(k throttleKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.entries, k)
}

// undo takes back a try whose password was not looked at.
func (t *throttle) undo(k throttleKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[k]
	if !ok {
		return
	}
	if e.count--; e.count <= 0 {
		delete(t.entries, k)
		return
	}
	if e.count < freeTries {
		e.until = time.Time{}
	}
	t.entries[k] = e
}

// evictLocked makes room: of a few entries, which the map hands out in no
// order, the one that was quiet for longest goes.
func (t *throttle) evictLocked() {
	var oldest throttleKey
	var last time.Time
	n := 0
	for k, e := range t.entries {
		if n == 0 || e.last.Before(last) {
			oldest, last = k, e.last
		}
		if n++; n == evictionProbe {
			break
		}
	}
	delete(t.entries, oldest)
}

// network is the part of an address that one subscriber has: /24 or /64.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil { // no address: all of those share one counter
		return netip.Prefix{}
	}
	return p
}

// clientOf is who sent the request; node has seen to proxies.
func clientOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
