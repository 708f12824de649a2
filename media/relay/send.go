package relay

import (
	"crypto/cipher"
	"net/netip"
	"sync/atomic"

	"github.com/talkd/talkd/media"
)

const (
	// maxPadding is what a packet may grow by, so that its frame is as long as the
	// others of its burst: those go to the kernel as one message, which saves much
	// more than so few bytes cost. Encoders divide a picture into packets that
	// differ by a byte or two, and by the header extensions of the first or last.
	maxPadding = 64

	paddingBit = 0x20 // in the first byte of an RTP packet (RFC 3550 5.1)
)

// outLayer is a layer that flows to another node: a media.Sink. Its Write is
// called by the layer's goroutine and by that of the flow, which answers NACKs.
type outLayer struct {
	m            *Manager
	flow         *flow
	track, layer uint8
	port         *port
	attachment   Attachment // set before flow.control runs

	counter              atomic.Uint64 // of frames
	packets, bytes, lost atomic.Uint64
}

// Write seals and sends. Several calls may be under way, also after the
// attachment was closed: each frame has a nonce of its own.
func (o *outLayer) Write(batch []*media.Packet) {
	var bytes, longest int
	for _, p := range batch {
		bytes += len(p.Raw())
		longest = max(longest, len(p.Raw()))
	}
	n := uint64(len(batch))
	h := header{kind: kindRTP, epoch: o.port.link.outEpoch, stream: o.port.stream, counter: o.counter.Add(n) - n}
	b := o.m.socket.burst()
	for _, p := range batch {
		h.counter++
		addFrame(b, o.port.link.out, h, p.Raw(), longest, o.flow.to)
	}
	o.packets.Add(n)
	o.bytes.Add(uint64(bytes))
	o.lost.Add(uint64(o.m.flush(b)))
}

// sendOne seals and sends a single frame.
func (m *Manager) sendOne(out cipher.AEAD, h header, plain []byte, to netip.AddrPort) {
	b := m.socket.burst()
	addFrame(b, out, h, plain, len(plain), to)
	m.flush(b)
}

func (m *Manager) flush(b burst) (lost int) {
	lost = b.Flush()
	b.Release()
	m.stats.dropped(dropSend, lost)
	return lost
}

// addFrame seals a frame into the burst. One that can be made as long as the
// longest of its burst is.
func addFrame(b burst, out cipher.AEAD, h header, plain []byte, longest int, to netip.AddrPort) {
	room := b.Room(maxFrame + nonceLen)
	nonce := (*[nonceLen]byte)(room[maxFrame:]) // any memory that is on the heap anyhow
	if n := longest - len(plain); n > 0 && n <= maxPadding {
		padded := room[headerLen : headerLen+longest]
		pad(padded, copy(padded, plain))
		plain = padded // is sealed in place
	}
	b.Add(to, len(seal(room[:0], out, nonce, h, plain)))
}

// pad fills an RTP packet behind its first n bytes. media.Packet.Parse takes
// that off again.
func pad(packet []byte, n int) {
	clear(packet[n:])
	packet[len(packet)-1] = byte(len(packet) - n)
	packet[0] |= paddingBit
}
