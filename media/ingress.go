package media

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media/srtp"
)

// maxHeld is how many packets wait for the end of the handshake, after which they
// can be opened. Clients begin to send when they have its last message, which is
// a moment before this node knows that they are who they should be.
const maxHeld = 128

// ingress is how packets arrive by one publisher's connection: past the library,
// so that what came together stays together and costs little. Its keys are at
// hand as this node is always the DTLS server of a publisher.
//
//	UDP socket ─────▶ Receive ─▶ open ─▶ by SSRC: inlet ─▶ trackSource
//	TCP connection ──▶    "
//
// The goroutines of the sockets run it. What it knows of the arrivals goes back to
// the publisher by Publisher.attend.
type ingress struct {
	keys      srtp.Handshake
	pool      *Pool
	metrics   *metrics
	inlets    []*inlet  // never changed
	sequence  uint8     // id of the header extension that numbers all packets, 0: not negotiated
	named     *section  // whose layers are known by rids; nil: none
	end       func()    // ends the connection
	recovered func(any) // is told of a panic
	began     time.Time

	mu       sync.Mutex
	closed   bool                 // guarded by mu, as all below
	opener   *srtp.Opener         // nil before the connection is established
	held     []*Packet            // wait for it, sealed
	incoming map[uint32]*incoming // by SSRC; the opener bounds them
	fresh    []*trackSource       // have packets that are not queued yet
	recorder *twcc.Recorder
	report   [MaxPacket]byte
}

// inlet is one layer as it arrives.
type inlet struct {
	stream
	ssrc   atomic.Uint32 // 0 before it is known
	clock  senderClock
	source *trackSource
}

// incoming is what arrives under one SSRC.
type incoming struct {
	inlet  *inlet // nil: of no layer, or not known yet of which
	repair bool   // retransmissions of the layer (RFC 4588)
	reception
}

func newIngress(o *offer, pool *Pool, m *metrics) *ingress {
	in := &ingress{
		pool: pool, metrics: m, began: time.Now(),
		sequence: o.extension(uriTransportCC),
		incoming: map[uint32]*incoming{},
		recorder: twcc.NewRecorder(reporterSSRC),
	}
	for _, s := range o.streams() {
		i := &inlet{stream: s, source: newTrackSource(s.section, m.sourceDropped)}
		in.inlets = append(in.inlets, i)
		if s.rid != "" {
			in.named = s.section
			continue
		}
		i.ssrc.Store(s.flow.ssrc)
		in.incoming[s.flow.ssrc] = i.incoming(false)
		if s.flow.rtx != 0 && s.section.rtx != 0 {
			in.incoming[s.flow.rtx] = i.incoming(true)
		}
	}
	return in
}

func (i *inlet) incoming(repair bool) *incoming {
	return &incoming{inlet: i, repair: repair, reception: reception{rate: i.section.clockRate()}}
}

// prepare implements transit.
func (in *ingress) prepare(n *network, s *webrtc.SettingEngine) {
	n.takeKeys(s, &in.keys)
	s.SetICEUDPMux(divertedUDP{n.udp, in})
	s.SetICETCPMux(divertedTCP{n.tcp, in, n.acceptor.hangUp})
}

// enter implements transit.
func (*ingress) enter(ctx context.Context, e *entrance) (func(), error) { return e.publisher(ctx) }

// open lets the packets flow when the connection is established, and the client
// known to be who made the offer.
func (in *ingress) open() error {
	defer in.caught()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.opener != nil || in.closed {
		return nil
	}
	o, err := in.keys.Opener()
	if err == nil {
		in.startLocked(o)
	}
	return err
}

// startLocked opens what was held, and from now on what comes.
func (in *ingress) startLocked(o *srtp.Opener) {
	in.opener = o
	now := time.Now()
	for _, p := range in.held {
		in.takeLocked(p.Raw(), now)
		p.Release()
	}
	in.held = nil
	in.deliverLocked()
	for _, i := range in.inlets {
		i.source.wake()
	}
}

// close ends the sources.
func (in *ingress) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, p := range in.held {
		p.Release()
	}
	in.held = nil
	for _, i := range in.inlets {
		i.source.fail(ErrClosed)
	}
}

// caught makes a panic end the connection, and not the node.
func (in *ingress) caught() {
	if v := recover(); v != nil {
		in.recovered(v)
		in.end()
	}
}

// Receive implements udp.Receiver.
func (in *ingress) Receive(packets [][]byte) {
	defer in.caught()
	in.take(packets)
	for _, i := range in.inlets {
		i.source.forward()
	}
}

func (in *ingress) take(packets [][]byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return
	}
	now := time.Now()
	for _, b := range packets {
		if in.opener == nil {
			in.holdLocked(b)
		} else {
			in.takeLocked(b, now)
		}
	}
	in.deliverLocked()
}

func (in *ingress) holdLocked(b []byte) {
	if len(in.held) == maxHeld || len(b) > MaxPacket {
		in.metrics.sourceDropped()
		return
	}
	p := in.pool.Get()
	p.n = copy(p.buf[:], b)
	in.held = append(in.held, p)
}

func (in *ingress) takeLocked(b []byte, now time.Time) {
	var err error
	if isRTCP(b) {
		err = in.rtcpLocked(b, now)
	} else {
		err = in.rtpLocked(b, now)
	}
	switch {
	case errors.Is(err, srtp.ErrStreams):
		in.end()
	case err != nil:
		in.metrics.refused.Inc()
	}
}

// isRTCP tells it from RTP (RFC 5761 4).
func isRTCP(b []byte) bool { return len(b) > 1 && b[1] >= 192 && b[1] <= 223 }

func (in *ingress) rtcpLocked(b []byte, now time.Time) error {
	n, err := in.opener.OpenRTCP(in.report[:], b)
	if err != nil {
		return err
	}
	packets, err := rtcp.Unmarshal(in.report[:n])
	if err != nil {
		return err
	}
	for _, p := range packets {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			if c := in.incoming[sr.SSRC]; c != nil && c.inlet != nil && !c.repair {
				c.inlet.clock.set(Clock{NTP: sr.NTPTime, RTP: sr.RTPTime, Arrival: now})
			}
		}
	}
	return nil
}

func (in *ingress) rtpLocked(b []byte, now time.Time) error {
	p := in.pool.Get()
	n, index, err := in.opener.Open(p.Buffer(), b)
	if err == nil {
		err = p.Parse(n)
	}
	if err != nil {
		p.Release()
		return err
	}
	p.Arrival = now
	in.recordLocked(p)
	c := in.incoming[p.SSRC()]
	if c == nil {
		c = &incoming{}
		in.incoming[p.SSRC()] = c
	}
	if c.inlet == nil && in.named != nil {
		in.identifyLocked(c, p)
	}
	if c.inlet == nil {
		p.Release()
		return nil
	}
	c.arrived(index, p.Timestamp, now.Sub(in.began))
	if !c.normalise(p) {
		p.Release()
		return nil
	}
	s := c.inlet.source
	if len(s.fresh) == 0 {
		in.fresh = append(in.fresh, s)
	}
	s.fresh = append(s.fresh, p)
	return nil
}

// normalise makes a packet one of the layer, in the cluster's form. It is false
// for what is none: padding, and payload types that were not negotiated.
func (c *incoming) normalise(p *Packet) bool {
	s := c.inlet.section
	if c.repair {
		ssrc := c.inlet.ssrc.Load()
		if p.PayloadType() != s.rtx || ssrc == 0 || !p.original(ssrc) {
			return false
		}
	} else if p.PayloadType() != s.payload {
		return false
	}
	c.inlet.source.normalise(p)
	return true
}

// identifyLocked looks whether a packet says of which layer it is (RFC 8852).
// Clients say so until they know that it was heard. The first stream of a name
// counts.
func (in *ingress) identifyLocked(c *incoming, p *Packet) {
	s := in.named
	var rid, repaired string
	for id, data := range p.elements {
		switch s.ext[id] {
		case uriRID:
			rid = string(data)
		case uriRepairedRID:
			repaired = string(data)
		}
	}
	for _, i := range in.inlets {
		switch {
		case i.section != s:
		case i.rid == repaired && p.PayloadType() == s.rtx:
			*c = *i.incoming(true)
		case i.rid == rid && p.PayloadType() == s.payload && i.ssrc.CompareAndSwap(0, p.SSRC()):
			*c = *i.incoming(false)
		}
	}
}

// recordLocked notes when a packet arrived, for the client's estimate of its line.
func (in *ingress) recordLocked(p *Packet) {
	if in.sequence == 0 {
		return
	}
	for id, data := range p.elements {
		if id == in.sequence && len(data) >= 2 {
			in.recorder.Record(p.SSRC(), uint16(data[0])<<8|uint16(data[1]), p.Arrival.Sub(in.began).Microseconds())
			return
		}
	}
}

func (in *ingress) deliverLocked() {
	for i, s := range in.fresh {
		s.deliver()
		in.fresh[i] = nil
	}
	in.fresh = in.fresh[:0]
}

// extension is the publisher's id of a header extension, which is the same in all
// sections (RFC 8843 9.2).
func (o *offer) extension(uri string) uint8 {
	for _, s := range o.sections {
		if s.kind == "" || !s.sends {
			continue
		}
		for id, have := range s.ext {
			if have == uri {
				return id
			}
		}
	}
	return 0
}

// videoSSRCs are those of the layers of video that are known.
func (in *ingress) videoSSRCs() (ssrcs []uint32) {
	for _, i := range in.inlets {
		if n := i.ssrc.Load(); n != 0 && i.section.kind == Video {
			ssrcs = append(ssrcs, n)
		}
	}
	return ssrcs
}
