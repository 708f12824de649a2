package srtp

const (
	// reach is how far behind the newest packet of an SSRC one may still be, which
	// is as long as a history of packets.
	reach    = 1024
	maxIndex = 1<<48 - 1
)

// window knows the newest packet of an SSRC, and which of the last were there.
type window struct {
	started bool
	high    uint64             // index of the newest packet: roll-over counter and sequence number
	seen    [reach / 64]uint64 // a bit for each index that is within reach, by its low bits
}

// index is the index nearest to the newest one that ends with seq (RFC 3711
// 3.3.1). It is false for what is too old to be known, or would end the life of
// the key.
func (w *window) index(seq uint16) (uint64, bool) {
	if !w.started {
		return uint64(seq), true
	}
	at := int64(w.high) + int64(int16(seq-uint16(w.high)))
	return uint64(at), at >= 0 && at <= maxIndex && at > int64(w.high)-reach
}

func (w *window) has(index uint64) bool {
	return w.started && index <= w.high && w.seen[index/64%(reach/64)]&(1<<(index%64)) != 0
}

func (w *window) note(index uint64) {
	if w.started && index > w.high {
		// What the window leaves, and what was never there.
		for i := range min(index-w.high, reach) {
			w.seen[(index-i)/64%(reach/64)] &^= 1 << ((index - i) % 64)
		}
	}
	w.seen[index/64%(reach/64)] |= 1 << (index % 64)
	w.high, w.started = max(w.high, index), true
}
