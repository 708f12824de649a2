package relay

import (
	"crypto/cipher"
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"

	"github.com/talkd/talkd/media"
)

// sendBatch is the memory of one call of send: the frames and what the kernel
// is told about them.
type sendBatch struct {
	n        int
	nonce    [nonceLen]byte
	messages [batchSize]ipv4.Message
	buffers  [batchSize][1][]byte
	frames   [batchSize][maxFrame]byte
}

func (b *sendBatch) reset() { b.n = 0 }

// add seals a frame into the batch, which must not be full.
func (b *sendBatch) add(out cipher.AEAD, h header, plain []byte, to net.Addr) {
	b.buffers[b.n][0] = seal(b.frames[b.n][:0], out, &b.nonce, h, plain)
	b.messages[b.n].Buffers = b.buffers[b.n][:]
	b.messages[b.n].Addr = to
	b.n++
}

// refusesOne tells an error that is about one datagram from one that is about
// the socket.
func refusesOne(err error) bool {
	return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.EINVAL)
}

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
	b, ok := o.m.batches.Get().(*sendBatch)
	if !ok {
		return // the pool holds nothing else
	}
	for len(batch) > 0 {
		part := batch[:min(len(batch), batchSize)]
		batch = batch[len(part):]
		b.reset()
		var bytes int
		for _, p := range part {
			raw := p.Raw()
			bytes += len(raw)
			b.add(o.port.link.out, o.header(), raw, o.flow.to)
		}
		o.packets.Add(uint64(len(part)))
		o.bytes.Add(uint64(bytes))
		o.lost.Add(uint64(o.m.send(b)))
	}
	o.m.batches.Put(b)
}

func (o *outLayer) header() header {
	return header{kind: kindRTP, epoch: o.port.link.outEpoch, stream: o.port.stream, counter: o.counter.Add(1)}
}

// send writes the batch to the socket and counts.
func (m *Manager) send(b *sendBatch) (lost int) {
	batch := b.messages[:b.n]
	for len(batch) > 0 {
		n, err := m.socket.write(batch)
		for _, msg := range batch[:n] {
			m.stats.bytesOut.Add(uint64(len(msg.Buffers[0])))
		}
		m.stats.packetsOut.Add(uint64(n))
		batch = batch[n:]
		switch {
		case err == nil && n > 0:
			continue
		case refusesOne(err):
			lost++
			batch = batch[1:]
		default:
			lost += len(batch)
			batch = nil
		}
	}
	m.stats.dropped(dropSend, lost)
	return lost
}

// sendOne seals and sends a single frame.
func (m *Manager) sendOne(out cipher.AEAD, h header, plain []byte, to net.Addr) {
	b, ok := m.batches.Get().(*sendBatch)
	if !ok {
		return // the pool holds nothing else
	}
	b.reset()
	b.add(out, h, plain, to)
	m.send(b)
	m.batches.Put(b)
}
