// Package rtpbuf keeps the last packets of a layer so that a lost one can be
// sent again: one history for all who receive the layer.
//
//	layer goroutine ──Put──▶ Ring ◀──Get── readers of RTCP (NACK, RFC 4585 6.2.1)
//
// The package starts no goroutine.
package rtpbuf

import "sync"

// Item is what a Ring holds: something with counted references.
type Item interface {
	comparable
	Retain()
	Release()
}

// Ring is a history by RTP sequence number: of the newest packet and those
// before it, as many as the ring has slots. It holds a reference to each item
// in it. Its methods may be called by several goroutines.
type Ring[T Item] struct {
	mu    sync.Mutex
	slots []T // guarded by mu; the length is a power of two
	mask  uint16
	last  uint16 // guarded by mu; the newest sequence number
	any   bool   // guarded by mu; something was put
}

// New returns a ring for the given number of packets, rounded up to a power of
// two, at most 1<<15.
func New[T Item](size int) *Ring[T] {
	n := 1
	for n < size && n < 1<<15 {
		n <<= 1
	}
	return &Ring[T]{slots: make([]T, n), mask: uint16(n - 1)}
}

// Put stores an item and retains it. It reports whether the item is new: false
// for one that is there already and for one that is older than the ring
// reaches; neither is stored.
func (r *Ring[T]) Put(seq uint16, item T) bool {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ahead := int(int16(seq - r.last)); {
	case !r.any:
		r.any, r.last = true, seq
	case ahead > 0:
		// What the ring no longer reaches goes, also for numbers that are
		// missing: after 65536 more it would pass for a new packet.
		for i := range min(ahead, len(r.slots)) {
			r.dropLocked(seq - uint16(i))
		}
		r.last = seq
	case -ahead >= len(r.slots):
		return false
	}
	s := &r.slots[seq&r.mask]
	if *s != zero {
		return false
	}
	item.Retain()
	*s = item
	return true
}

// Get returns the item with the sequence number, retained for the caller.
func (r *Ring[T]) Get(seq uint16) (T, bool) {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.any || int(r.last-seq) >= len(r.slots) {
		return zero, false
	}
	item := r.slots[seq&r.mask]
	if item == zero {
		return zero, false
	}
	item.Retain()
	return item, true
}

// Since returns the items from a sequence number to the newest one, each retained for
// the caller; none if the first is missing or the numbers are more than most.
func (r *Ring[T]) Since(seq uint16, most int) []T {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	n := int(r.last-seq) + 1
	if !r.any || n > min(most, len(r.slots)) || r.slots[seq&r.mask] == zero {
		return nil
	}
	items := make([]T, 0, n)
	for i := range uint16(n) {
		if item := r.slots[(seq+i)&r.mask]; item != zero {
			item.Retain()
			items = append(items, item)
		}
	}
	return items
}

// Clear releases everything.
func (r *Ring[T]) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		r.dropLocked(uint16(i))
	}
	r.any = false
}

func (r *Ring[T]) dropLocked(seq uint16) {
	var zero T
	if s := &r.slots[seq&r.mask]; *s != zero {
		(*s).Release()
		*s = zero
	}
}
