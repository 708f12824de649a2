package media

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media/rtpbuf"
)

const (
	// videoHistory is the number of packets of a layer that can be sent again:
	// about 8 s of a video of 1 Mbit/s. For audio it is about 1 s, as a later
	// packet is of no use.
	videoHistory = 1024
	audioHistory = 64
	// batchSize bounds what is read from a Source at once.
	batchSize = 64
	// keyframeInterval is the shortest time between two keyframe requests of a
	// layer: an encoder that is asked more often spends its bitrate on them.
	keyframeInterval = 500 * time.Millisecond
	// nackUpstream bounds how many packets of one request are asked upstream.
	nackUpstream = 64
	// lightWork is how many datagrams are sent by who brings the packets: waking
	// the layer's goroutine costs as much.
	lightWork = 16
	// delayEvery is of how many batches of a layer one tells how long it took:
	// looking at the clock costs as much as a small packet.
	delayEvery = 16
)

// layer is the unit of forwarding: one encoding of one track. Its goroutine
// (pump) reads the source, keeps the history and writes to all sinks; a
// trackSource does so itself while there is little to do. Sinks may be attached
// before there is a source, and stay when it is replaced.
type layer struct {
	video  bool
	begins func(payload []byte) bool // of its format
	police *police                   // nil but for what publishers of this node send
	voice  *voice                    // nil where all voices are forwarded
	ring   *rtpbuf.Ring[*Packet]
	stats  *traffic
	net    *network
	up     atomic.Pointer[uplink]
	seen   atomic.Int64  // when the last packet came, in Unix nanoseconds
	epoch  atomic.Uint32 // rises with each source
	key    atomic.Pointer[keyframe]
	turns  uint // batches that were forwarded; of who forwards

	mu    sync.Mutex             // guards changes of sinks
	sinks atomic.Pointer[[]Sink] // read by pump without a lock
	asked keyframeGate
}

// uplink is the way back to who sends the layer. clock may be nil.
type uplink struct {
	feedback Feedback
	clock    func() (Clock, bool)
}

func newLayer(kind string, g *group, n *network) *layer {
	l := &layer{video: kind == Video, stats: &g.traffic, net: n}
	if l.video {
		l.ring = rtpbuf.New[*Packet](videoHistory)
	} else {
		l.ring = rtpbuf.New[*Packet](audioHistory)
		if g.stage != nil {
			l.voice = &voice{stage: g.stage}
		}
	}
	return l
}

// aliveFor is how long a layer counts as alive after its last packet.
const aliveFor = 2 * time.Second

func (l *layer) alive(now time.Time) bool {
	if l.police != nil && l.police.shut.Load() {
		return false // at once, as there may be another layer
	}
	seen := l.seen.Load()
	return seen != 0 && now.UnixNano()-seen < int64(aliveFor)
}

// Attachment is a Sink of a layer, and the Feedback to it.
type Attachment struct {
	l    *layer
	sink Sink
	once sync.Once
}

func (l *layer) attach(sink Sink) *Attachment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var next []Sink
	if old := l.sinks.Load(); old != nil {
		next = append(next, *old...)
	}
	next = append(next, sink)
	l.sinks.Store(&next)
	return &Attachment{l: l, sink: sink}
}

// attached tells whether there is any sink.
func (l *layer) attached() bool {
	sinks := l.sinks.Load()
	return sinks != nil && len(*sinks) > 0
}

// Close ends the flow to the sink. A Write that is under way may still finish
// after it.
func (a *Attachment) Close() {
	a.once.Do(func() {
		a.l.mu.Lock()
		defer a.l.mu.Unlock()
		var next []Sink
		for _, s := range *a.l.sinks.Load() {
			if s != a.sink {
				next = append(next, s)
			}
		}
		a.l.sinks.Store(&next)
	})
}

// NACK writes the packets that are in the layer's history to the sink again,
// in one batch; the others are asked upstream.
func (a *Attachment) NACK(seqs []uint16) {
	found := a.l.recall(seqs, make([]*Packet, 0, len(seqs)))
	if len(found) == 0 {
		return
	}
	a.sink.Write(found)
	for _, p := range found {
		p.Release()
	}
}

// Keyframe asks the publisher for a keyframe; requests of all sinks are merged.
func (a *Attachment) Keyframe() { a.l.keyframe() }

// Past writes what the layer has had since a keyframe of just now to the sink, in one
// batch, so that it need not wait for another one; false when there is none, or too
// much. What comes meanwhile may be written twice.
func (a *Attachment) Past() bool {
	packets, _ := a.l.sinceKeyframe(time.Now())
	if len(packets) == 0 {
		return false
	}
	a.sink.Write(packets)
	for _, p := range packets {
		p.Release()
	}
	return true
}

// Clock is the mapping of the publisher's last sender report.
func (a *Attachment) Clock() (Clock, bool) { return a.l.clockNow() }

// recall appends the packets of the history to found, each with a reference
// for the caller, and asks upstream for the others.
func (l *layer) recall(seqs []uint16, found []*Packet) []*Packet {
	var missing []uint16
	for _, seq := range seqs {
		if p, ok := l.ring.Get(seq); ok {
			found = append(found, p)
		} else if len(missing) < nackUpstream {
			missing = append(missing, seq)
		}
	}
	if up := l.up.Load(); up != nil && len(missing) > 0 {
		if l.voice != nil {
			l.voice.original(missing)
		}
		if l.police != nil {
			l.police.original(missing)
		}
		up.feedback.NACK(missing)
	}
	return found
}

func (l *layer) clockNow() (Clock, bool) {
	up := l.up.Load()
	if up == nil || up.clock == nil {
		return Clock{}, false
	}
	return up.clock()
}

func (l *layer) keyframe() {
	up := l.up.Load()
	if l.video && up != nil && l.asked.open(time.Now()) {
		up.feedback.Keyframe()
	}
}

// pump runs until the source fails, whose error it returns.
func (l *layer) pump(source Source) error {
	l.epoch.Add(1)
	if l.voice != nil {
		l.voice.restart()
	}
	defer l.ring.Clear()
	if t, ok := source.(*trackSource); ok {
		t.feed(l)
	}
	batch := make([]*Packet, batchSize)
	for {
		n, err := source.Read(batch)
		if n > 0 {
			l.forward(batch[:n], flush)
		}
		if err != nil {
			return err
		}
	}
}

// light tells whether n packets are so little work that it is done where they
// are brought, and whether nobody is waited for.
func (l *layer) light(n int) bool {
	sinks := l.sinks.Load()
	if sinks == nil || len(*sinks) == 0 {
		return n <= lightWork
	}
	if n*len(*sinks) > lightWork {
		return false
	}
	for _, s := range *sinks {
		if t, ok := s.(*tap); !ok || !t.d.direct() {
			return false
		}
	}
	return true
}

// screen lets the packets through that are within the publisher's limit, and those of a
// voice that are to be heard, gives them their numbers, and owns the references of the
// others. It is of who forwards, who may have done so before.
func (l *layer) screen(batch []*Packet) []*Packet {
	if l.voice == nil && l.police == nil {
		return batch
	}
	passed := batch[:0]
	var left, bytes int
	for _, p := range batch {
		if p.passed = p.passed || l.admits(p); p.passed {
			passed = append(passed, p)
			continue
		}
		left++
		bytes += p.n
		p.Release()
	}
	clear(batch[len(passed):])
	if left > 0 {
		l.stats.in(left, bytes)
		if l.police != nil && l.police.count() && l.police.listened() {
			l.keyframe()
		}
	}
	if l.police != nil {
		l.police.turns()
	}
	return passed
}

// reviewed lets the tracks that the layer is written to look which layer is right.
func (l *layer) reviewed() {
	sinks := l.sinks.Load()
	if sinks == nil {
		return
	}
	for _, s := range *sinks {
		if t, ok := s.(*tap); ok {
			t.d.change(func() {})
		}
	}
}

// admits tells whether a packet is let through.
func (l *layer) admits(p *Packet) bool {
	if l.police != nil && !l.police.pass(p) {
		return false
	}
	if l.voice != nil && !l.voice.pass(p) {
		l.seen.Store(p.Arrival.UnixNano())
		return false
	}
	return true
}

// forward owns the references of the batch. flush is for what it has sealed.
func (l *layer) forward(batch []*Packet, flush func(burst)) {
	batch = l.screen(batch)
	even(batch)
	fresh := batch[:0]
	var bytes int
	for _, p := range batch {
		if l.video {
			p.describe(l.begins)
		}
		if !l.ring.Put(p.Sequence, p) {
			p.Release()
			continue
		}
		bytes += p.n
		if p.n > p.payload { // padding probes a path, it is no media
			l.seen.Store(p.Arrival.UnixNano())
		}
		fresh = append(fresh, p)
		if p.keyframe {
			l.noteKeyframe(p)
		}
	}
	if len(fresh) > 0 {
		l.stats.in(len(fresh), bytes)
	}
	if len(fresh) == 0 {
		return
	}
	if l.asked.owed.Load() {
		l.settle(fresh)
	}
	if sinks := l.sinks.Load(); sinks != nil {
		l.write(*sinks, fresh, flush)
		if l.turns++; l.turns%delayEvery == 0 {
			l.stats.took(time.Since(fresh[0].Arrival))
		}
	}
	for i, p := range fresh {
		p.Release()
		fresh[i] = nil
	}
}

// settle asks for the keyframe that is owed, unless one comes by itself.
func (l *layer) settle(batch []*Packet) {
	for _, p := range batch {
		if p.keyframe {
			l.asked.owed.Store(false)
			return
		}
	}
	l.keyframe()
}

// write gives each sink the whole batch, one after the other: datagrams that
// follow each other to the same address cost the kernel least.
func (l *layer) write(sinks []Sink, batch []*Packet, flush func(burst)) {
	var b burst
	var sum outgoing
	for _, s := range sinks {
		t, ok := s.(*tap)
		if !ok {
			s.Write(batch)
			continue
		}
		if b == nil {
			b = l.net.burst()
		}
		packets, bytes := t.d.write(t, batch, b)
		sum.add(t.d.stats, packets, bytes)
		b.Spill() // here, where no lock is held
	}
	sum.count()
	if b != nil {
		flush(b)
	}
}

// keyframeGate lets one request per keyframeInterval through. One that came too
// early is owed: whoever asked would otherwise wait for its own next attempt.
type keyframeGate struct {
	owed atomic.Bool
	mu   sync.Mutex
	last time.Time // guarded by mu
}

func (g *keyframeGate) open(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	early := !g.last.IsZero() && now.Sub(g.last) < keyframeInterval
	g.owed.Store(early)
	if !early {
		g.last = now
	}
	return !early
}
