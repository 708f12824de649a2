// Package rewrite is the arithmetic by which a subscriber sees one unbroken
// stream although the packets come from one source after another:
//
//	source's seq, timestamp, picture id ──▶ Numbering, Pictures ──▶ subscriber's
//
// Everything here is pure, allocates nothing and is owned by one goroutine (or
// one lock) at a time. The package starts no goroutine.
package rewrite

// Numbering maps sequence numbers and timestamps of RTP (RFC 3550 5.1). Within
// one source it only adds an offset, so that gaps and reordering of the source
// stay what they are. The zero value passes the first source through unchanged.
type Numbering struct {
	started bool
	fresh   bool   // the next packet begins a new stretch
	gap     uint32 // timestamp ticks between the last packet and that one
	keep    bool   // the offset of the timestamps stays

	low, high int64  // sequence numbers of this stretch, unwrapped
	seqOff    uint16 // what is added to the source's numbers
	tsOff     uint32
	outSeq    uint16 // the highest numbers handed out
	outTS     uint32
}

const maxFirst = 1<<15 - 1

// Follow begins after packets that were passed through unchanged, of which this one
// was the newest.
func (n *Numbering) Follow(seq uint16, ts uint32) {
	*n = Numbering{started: true, low: int64(seq), high: int64(seq), outSeq: seq, outTS: ts}
}

// Resume begins a new stretch of the same source after packets were left out:
// the sequence goes on without a gap, the timestamps show the pause.
func (n *Numbering) Resume() {
	if n.started && !n.fresh {
		n.fresh, n.keep = true, true
	}
}

// Switch begins a stretch of another source: its first packet is placed ticks
// after the last one, at least one.
func (n *Numbering) Switch(ticks uint32) {
	if n.started {
		n.fresh, n.keep, n.gap = true, false, max(ticks, 1)
	}
}

// Next maps a packet. It returns false for one from before the beginning of the
// stretch, which has no place in the subscriber's numbering.
func (n *Numbering) Next(seq uint16, ts uint32) (uint16, uint32, bool) {
	switch {
	case !n.started:
		n.started = true
		n.low, n.high = int64(seq), int64(seq)
		n.outSeq, n.outTS = seq&maxFirst, ts
		n.seqOff = n.outSeq - seq
		return n.outSeq, ts, true
	case n.fresh:
		n.fresh = false
		n.low, n.high = int64(seq), int64(seq)
		n.seqOff = n.outSeq + 1 - seq
		if !n.keep {
			n.tsOff = n.outTS + n.gap - ts
		}
		n.outSeq, n.outTS = n.outSeq+1, ts+n.tsOff
		return n.outSeq, n.outTS, true
	}
	at := n.high + int64(int16(seq-uint16(n.high)))
	if at < n.low {
		return 0, 0, false
	}
	out, outTS := seq+n.seqOff, ts+n.tsOff
	if at > n.high {
		n.high, n.outSeq, n.outTS = at, out, outTS
	}
	return out, outTS, true
}

// Again maps a packet that was sent before, as Next did it then.
func (n *Numbering) Again(seq uint16, ts uint32) (uint16, uint32, bool) {
	if !n.sent(seq) {
		return 0, 0, false
	}
	return seq + n.seqOff, ts + n.tsOff, true
}

// Source maps a number that the subscriber saw back to the source's. It returns
// false for numbers of earlier stretches and for those never handed out.
func (n *Numbering) Source(out uint16) (uint16, bool) {
	seq := out - n.seqOff
	return seq, n.sent(seq)
}

func (n *Numbering) sent(seq uint16) bool {
	if !n.started || n.fresh {
		return false
	}
	at := n.high + int64(int16(seq-uint16(n.high)))
	return at >= n.low && at <= n.high
}

// Timestamp maps a timestamp of the present source.
func (n *Numbering) Timestamp(ts uint32) (uint32, bool) {
	return ts + n.tsOff, n.started && (!n.fresh || n.keep)
}

// Last returns the highest numbers handed out.
func (n *Numbering) Last() (seq uint16, ts uint32, ok bool) {
	return n.outSeq, n.outTS, n.started
}
