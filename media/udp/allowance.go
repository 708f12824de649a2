package udp

import (
	"net/netip"
	"slices"
	"sync"
)

const (
	// maxUnanswered is how many requests leave for an address that does not answer,
	// maxSaved for one that did before: more than those within the time after which a
	// connection without answers ends anyhow.
	maxUnanswered = 8
	maxSaved      = 16
	// maxAllowances is of how many addresses a connection remembers that: those that
	// a client names, and those from which requests come for it.
	maxAllowances = 64
	// minAnswer is the length of the shortest answer to a request (RFC 8445 7.3): with
	// the sender's address, a sum and a check. What is shorter is somebody who has
	// others written to for little.
	minAnswer = 64
)

// allowances bound the requests that the library sends for a connection. It may
// ask for as long as the connection lasts, so that a client which hears nothing for
// some seconds is found when it is back. But the addresses are what the client
// says they are, and may be somebody else's: to each a few leave, and then one for
// each message that comes from there (RFC 8445 7.3.1.4).
type allowances struct {
	mu sync.Mutex
	of []allowance // guarded by mu; the oldest first
}

type allowance struct {
	to   netip.AddrPort
	left int
}

// spend tells whether one more request may leave.
func (a *allowances) spend(to netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.findLocked(to)
	if one == nil {
		if len(a.of) == maxAllowances {
			a.of = slices.Delete(a.of, 0, 1)
		}
		a.of = append(a.of, allowance{to: to, left: maxUnanswered})
		one = &a.of[len(a.of)-1]
	}
	if one.left == 0 {
		return false
	}
	one.left--
	return true
}

// earn notes that a message of so many bytes came from there.
func (a *allowances) earn(from netip.AddrPort, size int) {
	if size < minAnswer {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if one := a.findLocked(from); one != nil {
		one.left = min(one.left+1, maxSaved)
	}
}

func (a *allowances) findLocked(addr netip.AddrPort) *allowance {
	for i := range a.of {
		if a.of[i].to == addr {
			return &a.of[i]
		}
	}
	return nil
}
