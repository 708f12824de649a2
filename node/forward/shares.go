package forward

import (
	"net/netip"
	"sync"
)

// shares bounds what is under way at the same time. One client may hold half of
// it; of the other half it gets only its share, so that others find room.
type shares struct {
	all, share int

	mu   sync.Mutex // guards what follows
	held int
	by   map[netip.Prefix]int
}

func newShares(all, share int) *shares {
	return &shares{all: all, share: share, by: make(map[netip.Prefix]int)}
}

// take gives a place, which leave gives back.
func (s *shares) take(who netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held >= s.all || s.held >= s.all/2 && s.by[who] >= s.share {
		return false
	}
	s.held++
	s.by[who]++
	return true
}

func (s *shares) leave(who netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	if s.by[who]--; s.by[who] == 0 {
		delete(s.by, who)
	}
}

// network is whose share a request counts against: an address, or with IPv6 the
// 64 bits of which one subscriber has all addresses.
func network(remoteAddr string) netip.Prefix {
	client, err := netip.ParseAddrPort(remoteAddr)
	if err != nil { // all of those share one place
		return netip.Prefix{}
	}
	addr := client.Addr().Unmap().WithZone("")
	p, _ := addr.Prefix(min(addr.BitLen(), 64)) // fails only for more bits than there are
	return p
}
