package udp

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxAskers is from how many addresses a connection is sent requests at once,
	// and askerEvery is after what time there may be one more.
	maxAskers  = 32
	askerEvery = 10 * time.Second
)

// Askers are the addresses from which requests come for one connection, without
// those that belong to it by UDP. The library checks each of them with requests of its own (see
// allowances), and never forgets one. Whoever forges sender addresses would have the
// node send all these to others, and each address would cost memory.
type Askers struct {
	mu    sync.Mutex
	known []netip.AddrPort // guarded by mu; who was heard last at the end
	used  int              // guarded by mu; of maxAskers
	since time.Time        // guarded by mu; when the last of used was given back
}

// Admit tells whether a request from there is let in. For one that is, another
// address may be forgotten: the one that was not heard for longest.
func (a *Askers) Admit(from netip.AddrPort, now time.Time) (forgotten netip.AddrPort, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := slices.Index(a.known, from); i >= 0 {
		copy(a.known[i:], a.known[i+1:])
		a.known[len(a.known)-1] = from
		return forgotten, true
	}
	if back := min(a.used, int(now.Sub(a.since)/askerEvery)); back > 0 {
		a.used -= back
		a.since = a.since.Add(time.Duration(back) * askerEvery)
	}
	switch a.used {
	case maxAskers:
		return forgotten, false
	case 0:
		a.since = now
	}
	a.used++
	if len(a.known) == maxAskers {
		forgotten = a.known[0]
		a.known = slices.Delete(a.known, 0, 1)
	}
	a.known = append(a.known, from)
	return forgotten, true
}
