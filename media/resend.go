package media

import "slices"

const (
	// What a subscriber may have sent again: half as many packets as were sent,
	// and this many at once. It bounds what forged requests cost.
	resendBurst = 256
	// maxNACK bounds how many packets one RTCP packet of a subscriber may ask for.
	maxNACK = resendBurst
	// resendBatch is how many are sealed before others have their turn. It is less
	// than what a burst gives the kernel by itself, which may wait for room.
	resendBatch = 32
)

// resend answers a request for lost packets from the layer's history.
func (d *downTrack) resend(lost []uint16) {
	d.mu.Lock()
	t := d.current
	if t == nil || d.out.writer == nil {
		d.mu.Unlock()
		return
	}
	epoch := t.epoch
	seqs := lost[:0]
	for _, out := range lost {
		if seq, ok := d.numbering.Source(out); ok {
			seqs = append(seqs, seq)
		}
	}
	allowed := min(len(seqs), int(d.budget))
	d.budget -= float32(allowed)
	d.mu.Unlock()
	d.metrics.resendDropped(len(seqs) - allowed)
	if allowed == 0 {
		return
	}
	found := t.layer.recall(seqs[:allowed], make([]*Packet, 0, allowed))
	b := t.layer.net.burst()
	defer b.Release()
	var packets, bytes int
	// Nobody waits for room with the lock: the socket's goroutine may need it.
	for batch := range slices.Chunk(found, resendBatch) {
		n, size := d.resendSome(t, epoch, batch, b)
		packets, bytes = packets+n, bytes+size
		b.Flush() // what is lost, the socket counts
	}
	for _, p := range found {
		p.Release()
	}
	d.stats.out(packets, bytes)
	d.metrics.resent.Add(float64(packets))
}

// resendSome seals packets again that were found when the tap was the current
// one, and returns what there was.
func (d *downTrack) resendSome(t *tap, epoch uint32, batch []*Packet, b burst) (packets, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range batch {
		// A source that came after the request has other packets under the numbers.
		if t != d.current || t.epoch != epoch || t.stale() || d.out.writer == nil {
			break
		}
		if n, ok := d.again(p, b); ok {
			packets++
			bytes += n
		}
	}
	return packets, bytes
}

// again sends a packet once more: as a retransmission with a sequence of its
// own (RFC 4588), or the same packet byte for byte, so that nothing else is ever
// sealed under the same nonce.
func (d *downTrack) again(p *Packet, b burst) (bytes int, ok bool) {
	seq, ts, ok := d.numbering.Again(p.Sequence, p.Timestamp)
	if !ok {
		return 0, false
	}
	if d.out.repairSSRC != 0 {
		return d.send(b, p, seq, ts, retransmitted)
	}
	n, ok := d.send(b, p, seq, ts, identical)
	if ok {
		d.packets++
		d.octets += uint32(len(p.Payload()))
	}
	return n, ok
}
