package media

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtp"
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
//	layer goroutine ─▶ tap ─▶ write ─▶ rewrite ─▶ library (seal, socket)
//	RTCP reader ─▶ resend, keyframe
type downTrack struct {
	id, stream string
	kind       string
	codec      Codec
	stats      *traffic
	metrics    *metrics

	mu      sync.Mutex // guards all below; held while the library writes
	out     outlet
	live    bool // the connection is established
	paused  bool
	target  int   // the layer that the subscriber wants
	feed    *feed // to be forwarded
	track   uint8
	current *tap   // forwards, perhaps still of the feed before
	next    *tap   // waits for its first packet, a keyframe for video
	last    *layer // of the last packet forwarded
	arrival time.Time
	asked   time.Time // when a keyframe was asked for, in the time of packets

	numbering rewrite.Numbering
	pictures  rewrite.Pictures
	packets   uint32
	octets    uint32
	reported  uint32 // packets at the last sender report
	repairSeq uint16
	budget    float32
	header    rtp.Header
	scratch   [MaxPacket + 2]byte // two bytes for the original sequence number
}

// outlet is what was negotiated for a track.
type outlet struct {
	writer      webrtc.TrackLocalWriter
	ssrc        uint32
	payload     uint8
	repairSSRC  uint32 // 0: no retransmission format
	repair      uint8
	level       uint8 // id of the audio level extension, 0: not negotiated
	orientation uint8
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
		budget:  resendBurst,
	}
}

// Bind implements webrtc.TrackLocal: the library tells what was negotiated.
func (d *downTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	var chosen webrtc.RTPCodecParameters
	for _, p := range c.CodecParameters() {
		if strings.EqualFold(p.MimeType, d.codec.MimeType) && p.ClockRate == d.codec.ClockRate {
			chosen = p
			break
		}
	}
	if chosen.MimeType == "" {
		return webrtc.RTPCodecParameters{}, webrtc.ErrUnsupportedCodec
	}
	out := outlet{writer: c.WriteStream(), ssrc: uint32(c.SSRC()), payload: uint8(chosen.PayloadType)}
	apt := fmt.Sprintf("apt=%d", chosen.PayloadType)
	for _, p := range c.CodecParameters() {
		if strings.EqualFold(p.MimeType, mimeRTX) && strings.EqualFold(strings.TrimSpace(p.SDPFmtpLine), apt) {
			out.repair, out.repairSSRC = uint8(p.PayloadType), uint32(c.SSRCRetransmission())
		}
	}
	for _, x := range c.HeaderExtensions() {
		if x.ID < 1 || x.ID > 14 {
			continue
		}
		switch x.URI {
		case uriAudioLevel:
			out.level = uint8(x.ID)
		case uriVideoOrientation:
			out.orientation = uint8(x.ID)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = out
	return chosen, nil
}

// Unbind implements webrtc.TrackLocal.
func (d *downTrack) Unbind(webrtc.TrackLocalContext) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = outlet{}
	return nil
}

// ID implements webrtc.TrackLocal.
func (d *downTrack) ID() string { return d.id }

// RID implements webrtc.TrackLocal.
func (d *downTrack) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (d *downTrack) StreamID() string { return d.stream }

// Kind implements webrtc.TrackLocal.
func (d *downTrack) Kind() webrtc.RTPCodecType { return webrtc.NewRTPCodecType(d.kind) }

// connect begins to forward.
func (d *downTrack) connect() {
	d.change(func() { d.live = true })
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

// review follows layers that begin and end.
func (d *downTrack) review() { d.change(func() {}) }

// close ends the flow.
func (d *downTrack) close() {
	d.change(func() {
		d.live, d.feed = false, nil
	})
}

// change applies f, attaches to the layer that is right then, and asks it for a
// keyframe when it is a new one.
func (d *downTrack) change(f func()) {
	d.mu.Lock()
	f()
	ask := d.aimLocked(time.Now())
	d.mu.Unlock()
	if ask != nil {
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
	if !d.live || d.paused || d.feed == nil {
		return nil
	}
	layers := d.feed.layers[d.track]
	if len(layers) == 1 {
		return layers[0]
	}
	target := min(d.target, len(layers)-1)
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

// Write implements Sink.
func (t *tap) Write(batch []*Packet) { t.d.write(t, batch) }

func (d *downTrack) write(t *tap, batch []*Packet) {
	var packets, bytes int
	var ask *layer
	d.mu.Lock()
	if t == d.next && d.current != nil && d.current.feed != d.feed {
		// What another publication sends is known only now that it flows, and there
		// is time to wait for the best of it.
		ask = d.aimLocked(time.Now())
	}
	if t == d.current && t.epoch != t.layer.epoch.Load() && d.next == nil {
		// The way to another node was lost and found. What came meanwhile is left
		// out like a pause.
		d.current, d.next = nil, t
	}
	for _, p := range batch {
		if d.out.writer == nil || t != d.current && !d.begin(t, p) {
			continue
		}
		if n, ok := d.forward(p); ok {
			packets++
			bytes += n
		}
	}
	if t == d.next && len(batch) > 0 {
		if now := batch[len(batch)-1].Arrival; d.kind == Video && now.Sub(d.asked) > keyframeAgain {
			d.asked, ask = now, t.layer
		}
	}
	d.mu.Unlock()
	if packets > 0 {
		d.stats.out(packets, bytes)
	}
	if ask != nil {
		ask.keyframe()
	}
}

// begin makes the layer that was waited for the current one when p is a packet
// to begin with.
func (d *downTrack) begin(t *tap, p *Packet) bool {
	if t != d.next || len(p.Payload()) == 0 {
		return false
	}
	passed := max(p.Arrival.Sub(d.arrival), 0)
	if d.kind == Video {
		if v, err := rewrite.ParseVP8(p.Payload()); err != nil || !v.Keyframe {
			return false
		}
	} else if d.current != nil && passed < audioFrame/2 {
		// Most of it was heard from the other source already, whose next packet this
		// one's next takes the place of.
		d.current = drop(d.current)
		return false
	}
	drop(d.current)
	d.current, d.next = t, nil
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

// forward sends a packet for the first time, as far as it was not too late.
func (d *downTrack) forward(p *Packet) (bytes int, ok bool) {
	seq, ts, ok := d.numbering.Next(p.Sequence, p.Timestamp)
	if !ok {
		return 0, false
	}
	payload := d.payload(p, false)
	d.arrival = p.Arrival
	d.fill(p, seq, ts)
	n, err := d.out.writer.WriteRTP(&d.header, payload)
	if err != nil || n == 0 {
		return 0, false
	}
	d.packets++
	d.octets += uint32(len(payload))
	d.budget = min(d.budget+0.5, resendBurst)
	return n, true
}

// payload returns the payload with the subscriber's picture ids, which is the
// shared one where nothing differs. It takes a flag and no function, as that
// would be an allocation for each packet.
func (d *downTrack) payload(p *Packet, again bool) []byte {
	payload := p.Payload()
	if d.kind != Video || len(payload) == 0 {
		return payload
	}
	v, err := rewrite.ParseVP8(payload)
	if err != nil {
		return payload
	}
	var differs bool
	if again {
		differs = d.pictures.Again(&v)
	} else {
		differs = d.pictures.Map(&v)
	}
	if !differs {
		return payload
	}
	own := d.scratch[2 : 2+copy(d.scratch[2:], payload)]
	v.Put(own)
	return own
}

// fill writes the subscriber's header.
func (d *downTrack) fill(p *Packet, seq uint16, ts uint32) {
	h := &d.header
	h.Version = 2
	h.Marker = p.Marker
	h.PayloadType = d.out.payload
	h.SequenceNumber = seq
	h.Timestamp = ts
	h.SSRC = d.out.ssrc
	h.Extension = false
	h.Extensions = h.Extensions[:0]
	h.ExtensionProfile = 0
	d.extension(d.out.level, p, ExtAudioLevel)
	d.extension(d.out.orientation, p, ExtVideoOrientation)
}

func (d *downTrack) extension(id uint8, p *Packet, from uint8) {
	if id == 0 {
		return
	}
	if data := p.Extension(from); data != nil {
		_ = d.header.SetExtension(id, data) // one byte, and id is within 1 to 14
	}
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
