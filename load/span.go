package load

import "math/bits"

// span is a set of numbers that lie close together: which of a stream's packets
// came.
type span struct {
	base uint64 // number of the first bit; a multiple of 64
	bits []uint64
	any  bool
	low  uint64
	high uint64
}

// maxSpan bounds the memory of a span: more than a day of video.
const maxSpan = 1 << 24

// add reports whether n is new. Numbers too far from the others are not kept,
// and never new.
func (s *span) add(n uint64) bool {
	if !s.any {
		s.any, s.low, s.high = true, n, n
		s.base = n &^ 63
	}
	if n < s.base {
		words := (s.base - n + 63) / 64
		if s.high-n >= maxSpan {
			return false
		}
		s.bits = append(make([]uint64, words), s.bits...)
		s.base -= words * 64
	}
	i := n - s.base
	if i >= maxSpan {
		return false
	}
	for uint64(len(s.bits)) <= i/64 {
		s.bits = append(s.bits, 0)
	}
	bit := uint64(1) << (i % 64)
	if s.bits[i/64]&bit != 0 {
		return false
	}
	s.bits[i/64] |= bit
	s.low, s.high = min(s.low, n), max(s.high, n)
	return true
}

// count is how many numbers there are.
func (s *span) count() uint64 {
	var n uint64
	for _, w := range s.bits {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// between is how many numbers there are from low to before next.
func (s *span) between(low, next uint64) (n uint64) {
	for i := max(low, s.base); i < min(next, s.base+64*uint64(len(s.bits))); i++ {
		n += s.bits[(i-s.base)/64] >> (i % 64) & 1
	}
	return n
}

// missing is how many numbers between the lowest and the highest are not there.
func (s *span) missing() uint64 {
	if !s.any {
		return 0
	}
	return s.high - s.low + 1 - s.count()
}

// unwrap continues 16-bit sequence numbers, starting in the second round so that
// packets before the first one have a number too.
type unwrap struct {
	any  bool
	last uint64
}

func (u *unwrap) next(n uint16) uint64 {
	if !u.any {
		u.any, u.last = true, 1<<16|uint64(n)
		return u.last
	}
	full := u.last + uint64(int64(int16(n-uint16(u.last))))
	u.last = max(u.last, full)
	return full
}
