package relay

const (
	// windowSize is how far a frame may be behind the newest of its stream:
	// 0.2 s of 100 Mbit/s.
	windowSize = 2048
	wordBits   = 64
)

// window remembers which numbers were used, to refuse them a second time.
// Numbers start at 1; those that are behind the window count as used. It is
// not safe for concurrent use.
type window struct {
	top  uint64
	bits [windowSize / wordBits]uint64 // the bit of n is n modulo windowSize
}

// fresh tells whether n was not used.
func (w *window) fresh(n uint64) bool {
	if n > w.top {
		return true
	}
	if n == 0 || w.top-n >= windowSize {
		return false
	}
	return w.bits[n/wordBits%uint64(len(w.bits))]&(1<<(n%wordBits)) == 0
}

// mark makes n used. It must be fresh.
func (w *window) mark(n uint64) {
	if n > w.top {
		if n-w.top >= windowSize {
			clear(w.bits[:])
		} else {
			for i := w.top + 1; i < n; i++ {
				w.bits[i/wordBits%uint64(len(w.bits))] &^= 1 << (i % wordBits)
			}
		}
		w.top = n
	}
	w.bits[n/wordBits%uint64(len(w.bits))] |= 1 << (n % wordBits)
}
