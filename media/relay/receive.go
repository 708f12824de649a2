package relay

import (
	"errors"
	"net"
	"time"
)

// readPause keeps a socket that fails at every read from using up a core.
const readPause = 10 * time.Millisecond

// intake takes in what the socket has received at once: it opens the frames,
// and hands the packets of each layer over whole, so that what was a burst is
// one again at the next hop. It belongs to the goroutine that reads the socket.
type intake struct {
	m      *Manager
	now    time.Time
	last   *port      // of the frame before; of this batch only, as ports end
	layers []*inLayer // that got packets
	nonce  [nonceLen]byte
	plain  [maxFrame]byte

	frames, bytes uint64 // that were accepted
}

// read takes frames from the socket until it is closed.
func (m *Manager) read() error {
	in := &intake{m: m}
	for {
		err := m.socket.read()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			m.stats.drop(dropRead)
			select {
			case <-m.life.Done():
			case <-time.After(readPause):
			}
			continue
		}
		in.begin(time.Now())
		for frame := m.socket.next(); frame != nil; frame = m.socket.next() {
			in.receive(frame)
		}
		in.end()
	}
}

func (in *intake) begin(now time.Time) { in.now = now }

// end hands over what was received since begin.
func (in *intake) end() {
	for i, l := range in.layers {
		l.deliver()
		in.layers[i] = nil
	}
	in.layers, in.last = in.layers[:0], nil
	in.m.stats.packetsIn.Add(in.frames)
	in.m.stats.bytesIn.Add(in.bytes)
	in.frames, in.bytes = 0, 0
}

// receive takes one datagram, from whatever address: who made it shows when it
// opens.
func (in *intake) receive(frame []byte) {
	stats := &in.m.stats
	h, ok := parseHeader(frame)
	if !ok {
		stats.drop(dropMalformed)
		return
	}
	p, known := in.find(h)
	switch {
	case !known:
		stats.drop(dropEpoch)
	case p == nil:
		stats.drop(dropStream)
	case (p.in != nil) != (h.kind == kindRTP):
		stats.drop(dropMalformed)
	case !p.window.fresh(h.counter):
		stats.drop(dropReplay)
	case p.in != nil:
		in.packet(p, h, frame)
	default:
		in.feedback(p, h, frame)
	}
}

// find is table.find, but for the frames of a burst, which are of one stream.
func (in *intake) find(h header) (p *port, known bool) {
	if p := in.last; p != nil && p.stream == h.stream && p.link.inEpoch == h.epoch {
		return p, true
	}
	in.last, known = in.m.table.find(h.epoch, h.stream)
	return in.last, known
}

func (in *intake) packet(p *port, h header, frame []byte) {
	packet := in.m.packets.Get()
	plain, err := open(packet.Buffer()[:0], p.link.in, &in.nonce, h, frame)
	if err != nil {
		packet.Release()
		in.m.stats.drop(dropForged)
		return
	}
	in.accepted(p, h, frame)
	if packet.Parse(len(plain)) != nil {
		packet.Release()
		in.m.stats.drop(dropMalformed)
		return
	}
	packet.Arrival = in.now
	if p.in.take(packet) {
		in.layers = append(in.layers, p.in)
	}
}

func (in *intake) feedback(p *port, h header, frame []byte) {
	plain, err := open(in.plain[:0], p.link.in, &in.nonce, h, frame)
	if err != nil {
		in.m.stats.drop(dropForged)
		return
	}
	in.accepted(p, h, frame)
	ask := demand{layer: p.out}
	if h.kind == kindNACK {
		if ask.seqs = parseNACK(plain); len(ask.seqs) == 0 {
			in.m.stats.drop(dropMalformed)
			return
		}
	}
	p.out.flow.demand(ask)
}

func (in *intake) accepted(p *port, h header, frame []byte) {
	p.window.mark(h.counter)
	p.top.Store(p.window.top)
	p.accepted.Add(1)
	in.frames++
	in.bytes += uint64(len(frame))
}
