package udp

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
)

// maxRefusing is how many addresses may refuse joined datagrams before no
// datagrams are joined any more: then it is not their routes.
const maxRefusing = 256

// joining knows to which addresses datagrams must not be joined.
type joining struct {
	off      atomic.Bool
	refusing atomic.Pointer[map[netip.AddrPort]struct{}] // nil while there are none; never changed
	mu       sync.Mutex                                  // guards changes of refusing
}

func (j *joining) allowed(to netip.AddrPort) bool {
	if j.off.Load() {
		return false
	}
	set := j.refusing.Load()
	if set == nil {
		return true
	}
	_, refuses := (*set)[to]
	return !refuses
}

// refuse remembers an address. It tells whether joining has ended by that.
func (j *joining) refuse(to netip.AddrPort) (ended bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	next := map[netip.AddrPort]struct{}{to: {}}
	if set := j.refusing.Load(); set != nil {
		maps.Copy(next, *set)
	}
	if len(next) > maxRefusing {
		return j.off.CompareAndSwap(false, true)
	}
	j.refusing.Store(&next)
	return false
}

// forget lets go of addresses that nothing is sent to any more.
func (j *joining) forget(addresses []netip.AddrPort) {
	j.mu.Lock()
	defer j.mu.Unlock()
	set := j.refusing.Load()
	if set == nil {
		return
	}
	next := maps.Clone(*set)
	for _, a := range addresses {
		delete(next, a)
	}
	if len(next) == 0 {
		j.refusing.Store(nil)
		return
	}
	j.refusing.Store(&next)
}
