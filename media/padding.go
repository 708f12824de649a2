package media

const (
	// maxPadding is what a packet may grow by, so that it is as long as the one
	// after it. Encoders divide a picture into packets that differ by a byte, the
	// shorter ones first (Chromium), and the kernel takes as one message only
	// datagrams of one length, of which the last may be shorter.
	maxPadding = 8

	paddingBit = 0x20 // in the first byte of an RTP packet (RFC 3550 5.1)
)

// even makes packets of a batch as long as those after them, where little is
// missing. It is done once for all subscribers, so that a packet that is sent
// again is the same, and before anybody else knows the packets.
func even(batch []*Packet) {
	for i := len(batch) - 2; i >= 0; i-- {
		p, next := batch[i], batch[i+1]
		if n := next.n + next.padding - p.n; n > 0 && n <= maxPadding && p.n+n <= MaxPacket && p.n > p.payload {
			p.pad(n)
		}
	}
}

// pad puts padding behind the packet, of which Raw and Payload know nothing.
func (p *Packet) pad(n int) {
	clear(p.buf[p.n : p.n+n])
	p.buf[p.n+n-1] = byte(n)
	p.padding = n
}

// padded is the payload with the padding.
func (p *Packet) padded() []byte { return p.buf[p.payload : p.n+p.padding] }
