package media

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media/rewrite"
)

const (
	// keyframeAgain is after what time without one a keyframe is asked for again.
	keyframeAgain = keyframeInterval + 50*time.Millisecond
	// bestSubstream is what a subscriber gets that did not choose.
	bestSubstream = MaxLayers - 1
	// audioFrame is what a packet of audio holds, as WebRTC's clients send it.
	audioFrame = 20 * time.Millisecond
)

// downTrack is one track on its way to one subscriber. Its layers write to it
// (tap); whatever layer, publication or pause, the subscriber sees one stream:
// SSRC, sequence numbers, timestamps and picture ids go on. What forwards now
// goes on doing so until what is to come has a packet to begin with.
//
//	layer goroutine ─▶ tap ─▶ write ─▶ rewrite ─▶ seal ─▶ burst
//	echo ─▶ resend, keyframe
type downTrack struct {
	id, stream string
	kind       string
	codec      Codec
	stats      *traffic
	metrics    *metrics
	sender     *webrtc.RTPSender // reads what comes back where the library has it
	// onRestraint is told of changes of restraint; may be nil.
	onRestraint func(PubID, Restraint)

	mu        sync.Mutex // guards all below; held while packets are sealed
	out       outlet
	egress    *egress // nil until the connection is established
	paused    bool
	silent    bool      // the other side does not answer
	target    int       // the layer that the subscriber wants
	limit     int       // the best layer that this node has strength for; below 0 none
	restraint Restraint // what that meant when limit was set last
	feed      *feed     // to be forwarded
	track     uint8
	current   *tap   // forwards, perhaps still of the feed before
	next      *tap   // waits for its first packet, a keyframe for video
	last      *layer // of the last packet forwarded
	arrival   time.Time
	asked     time.Time // when a keyframe was asked for, in the time of packets

	numbering rewrite.Numbering
	pictures  rewrite.Pictures
	packets   uint32
	octets    uint32
	reported  uint32 // packets at the last sender report
	repairSeq uint16
	budget    float32
}

// tap is the Sink of a downTrack on one layer.
type tap struct {
	d     *downTrack
	feed  *feed
	layer *layer
	att   *Attachment // guarded by d.mu
	epoch uint32      // guarded by d.mu; of the layer, when the tap became the current one
}

func newDownTrack(stream string, t TrackInfo, stats *traffic, m *metrics) *downTrack {
	return &downTrack{
		id:      fmt.Sprintf("%s-%s-%d", stream, t.Kind, t.Index),
		stream:  stream,
		kind:    t.Kind,
		codec:   t.Codec,
		stats:   stats,
		metrics: m,
		target:  bestSubstream,
		limit:   unlimited,
		budget:  resendBurst,
	}
}

// connect begins to forward. An SSRC that is sealed here is never written by the
// library, as they would use nonces twice.
func (d *downTrack) connect(e *egress) error {
	var err error
	d.change(func() {
		if d.egress == nil {
			d.egress, err = e, d.out.open(e.sealer)
		}
	})
	return err
}

// direct tells whether packets go past the library, which may wait, and nobody is
// sealing at the moment, who may wait as well.
func (d *downTrack) direct() bool {
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	return d.egress == nil || d.egress.sealer != nil
}

// rebind goes on with the track of another publication, as soon as that flows.
// It returns the layer that a keyframe is needed of.
func (d *downTrack) rebind(f *feed, track uint8) *layer {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = drop(d.next)
	d.feed, d.track = f, track
	return d.aimLocked(time.Now())
}

// needs tells whether packets still come from a feed that another one takes the
// place of. One that has ended is let go, and when it is late one that is silent.
func (d *downTrack) needs(f *feed, now time.Time, late bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.current == nil || d.current.feed != f {
		return false
	}
	if f.cause() != nil || late && !d.current.layer.alive(now) {
		d.current = drop(d.current)
		return false
	}
	return true
}

// choose pauses the track or wants another layer; nil leaves things as they are.
func (d *downTrack) choose(on *bool, target *int) {
	d.change(func() {
		if on != nil {
			d.paused = !*on
		}
		if target != nil {
			d.target = min(max(*target, 0), MaxLayers-1)
		}
	})
}

// review follows layers that begin and end, and whether the other side answers: what
// comes when it does again is as after a pause.
func (d *downTrack) review(silent bool) { d.change(func() { d.silent = silent }) }

// close ends the flow.
func (d *downTrack) close() {
	d.change(func() {
		d.egress, d.feed = nil, nil
	})
}

// change applies f, attaches to the layer that is right then, and when it is a new one
// begins with what it has had since a keyframe, or asks for one.
func (d *downTrack) change(f func()) {
	d.mu.Lock()
	f()
	ask := d.aimLocked(time.Now())
	d.mu.Unlock()
	if ask != nil && !d.replay(ask) {
		ask.keyframe()
	}
}

func (d *downTrack) aimLocked(now time.Time) (ask *layer) {
	want := d.wantedLocked(now)
	switch {
	case want == nil:
		d.dropTaps()
		return nil
	case d.next != nil && d.next.layer == want:
		return nil
	case d.current != nil && d.current.layer == want:
		d.next = drop(d.next)
		return nil
	}
	d.next = drop(d.next)
	t := &tap{d: d, feed: d.feed, layer: want}
	t.att = want.attach(t)
	d.next, d.asked = t, now
	return want
}

// wantedLocked is the layer to forward: the wanted one if it is alive, else the
// best that is alive below it, else the lowest above it. With none alive, the
// lowest one, which every client sends first.
func (d *downTrack) wantedLocked(now time.Time) *layer {
	if d.egress == nil || d.out.writer == nil || d.paused || d.silent || d.feed == nil || d.limit < 0 {
		return nil
	}
	layers := d.feed.layers[d.track]
	if len(layers) == 1 {
		return layers[0]
	}
	target := min(d.target, d.limit, len(layers)-1)
	for i := target; i >= 0; i-- {
		if layers[i].alive(now) {
			return layers[i]
		}
	}
	for _, l := range layers[target+1:] {
		if l.alive(now) {
			return l
		}
	}
	if d.current != nil && d.current.feed == d.feed {
		return d.current.layer
	}
	return layers[0]
}

func (d *downTrack) dropTaps() {
	d.current, d.next = drop(d.current), drop(d.next)
}

func drop(t *tap) *tap {
	if t != nil {
		t.att.Close()
	}
	return nil
}

// stale tells whether the layer has another source than when the tap began: what
// comes has other numbers, and may use some of them again.
func (t *tap) stale() bool { return t.epoch != t.layer.epoch.Load() }

// Write implements Sink. The layer does better: its taps share a burst.
func (t *tap) Write(batch []*Packet) {
	b := t.layer.net.burst()
	t.d.stats.out(t.d.write(t, batch, b))
	flush(b)
}

// write returns what was sent.
func (d *downTrack) write(t *tap, batch []*Packet, b burst) (packets, bytes int) {
	packets, bytes, ask := d.pass(t, batch, b)
	if ask != nil {
		ask.keyframe()
	}
	return packets, bytes
}

// pass is write under the lock, and returns the layer that a keyframe is needed of.
func (d *downTrack) pass(t *tap, batch []*Packet, b burst) (packets, bytes int, ask *layer) {
	d.mu.Lock()
	defer d.mu.Unlock() // also of a panic, which ends the publisher and not this one
	if t == d.next && d.current != nil && d.current.feed != d.feed {
		// What another publication sends is known only now that it flows, and there
		// is time to wait for the best of it.
		ask = d.aimLocked(time.Now())
	}
	flows := t == d.current && !t.stale()
	for _, p := range batch {
		if d.egress == nil || d.out.writer == nil {
			break
		}
		if flows = flows || d.begin(t, p); !flows {
			continue
		}
		if n, ok := d.forward(p, b); ok {
			packets++
			bytes += n
		}
	}
	if !flows && len(batch) > 0 && (t == d.next || t == d.current) {
		if now := batch[len(batch)-1].Arrival; d.kind == Video && now.Sub(d.asked) > keyframeAgain {
			d.asked, ask = now, t.layer
		}
	}
	return packets, bytes, ask
}

// begin makes the layer that was waited for the current one when p is a packet
// to begin with. So it does with the current one when that has another source:
// the way to another node was lost and found, and what came meanwhile is left out
// like a pause.
func (d *downTrack) begin(t *tap, p *Packet) bool {
	if t != d.next && t != d.current || len(p.Payload()) == 0 {
		return false
	}
	passed := max(p.Arrival.Sub(d.arrival), 0)
	if d.kind == Video {
		if !p.keyframe || d.last == t.layer && d.shown(p) {
			return false
		}
	} else if t == d.next && d.current != nil && passed < audioFrame/2 {
		// Most of it was heard from the other source already, whose next packet this
		// one's next takes the place of.
		d.current = drop(d.current)
		return false
	}
	if t == d.next {
		drop(d.current)
		d.current, d.next = t, nil
	}
	t.epoch = t.layer.epoch.Load()
	if d.last == t.layer {
		d.numbering.Resume()
	} else {
		if d.kind == Audio {
			// In whole frames: anything between is a hole that a listener fills.
			passed = max(passed.Round(audioFrame), audioFrame)
		}
		d.numbering.Switch(uint32(uint64(passed) * uint64(d.codec.ClockRate) / uint64(time.Second)))
	}
	d.pictures.Restart()
	d.last = t.layer
	return true
}

// shown tells whether a packet of the layer that is shown is of a picture from before
// the last one: another node has begun anew with what it had.
func (d *downTrack) shown(p *Packet) bool {
	ts, ok := d.numbering.Timestamp(p.Timestamp)
	_, last, _ := d.numbering.Last()
	ahead := int32(ts - last)
	return ok && ahead <= 0 && -ahead < int32(maxPast.Seconds()*float64(d.codec.ClockRate))
}

// forward sends a packet for the first time, as far as it was not too late.
func (d *downTrack) forward(p *Packet, b burst) (bytes int, ok bool) {
	seq, ts, ok := d.numbering.Next(p.Sequence, p.Timestamp)
	if !ok {
		return 0, false
	}
	d.arrival = p.Arrival
	n, ok := d.send(b, p, seq, ts, first)
	if !ok {
		return 0, false
	}
	d.packets++
	d.octets += uint32(len(p.Payload()))
	d.budget = min(d.budget+0.5, resendBurst)
	return n, true
}

// keyframe passes a request of the subscriber on.
func (d *downTrack) keyframe() {
	d.mu.Lock()
	t := d.next
	if t == nil {
		t = d.current
	}
	d.mu.Unlock()
	if t != nil {
		t.layer.keyframe()
	}
}
