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

// Ring is a history by RTP sequence number. It holds a reference to each item
// in it. Its methods may be called by several goroutines.
type Ring[T Item] struct {
	mu    sync.Mutex
	slots []slot[T] // guarded by mu; the length is a power of two
	mask  uint16
	last  uint16 // guarded by mu; the newest sequence number
	any   bool   // guarded by mu; something was put
}

type slot[T Item] struct {
	seq  uint16
	item T
}

// New returns a ring for the given number of packets, rounded up to a power of
// two, at most 1<<15.
func New[T Item](size int) *Ring[T] {
	n := 1
	for n < size && n < 1<<15 {
		n <<= 1
	}
	return &Ring[T]{slots: make([]slot[T], n), mask: uint16(n - 1)}
}

// Put stores an item and retains it. It reports whether the item is new: false
// for one that is there already and for one that is older than the ring
// reaches; neither is stored.
func (r *Ring[T]) Put(seq uint16, item T) bool {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ahead := int16(seq - r.last); {
	case !r.any:
		r.any, r.last = true, seq
	case ahead > 0:
		r.last = seq
	case -int(ahead) >= len(r.slots):
		return false
	}
	s := &r.slots[seq&r.mask]
	if s.item != zero {
		if s.seq == seq {
			return false
		}
		s.item.Release()
	}
	item.Retain()
	s.seq, s.item = seq, item
	return true
}

// Get returns the item with the sequence number, retained for the caller.
func (r *Ring[T]) Get(seq uint16) (T, bool) {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.any || int16(r.last-seq) < 0 || int(r.last-seq) >= len(r.slots) {
		return zero, false
	}
	s := &r.slots[seq&r.mask]
	if s.item == zero || s.seq != seq {
		return zero, false
	}
	s.item.Retain()
	return s.item, true
}

// Clear releases everything.
func (r *Ring[T]) Clear() {
	var zero T
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		if r.slots[i].item != zero {
			r.slots[i].item.Release()
			r.slots[i] = slot[T]{}
		}
	}
	r.any = false
}
