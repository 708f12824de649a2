package media

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

const (
	// maxDataChannels is how many channels a publisher may open; Nextcloud's
	// clients open two. Each has a buffer.
	maxDataChannels = 16
	// rembInterval is how often a publisher is reminded of its bitrate limit.
	rembInterval = time.Second
)

// PublishRequest asks to receive the media of a session.
type PublishRequest struct {
	ID    PubID
	Group string
	Offer string
	// OnCandidate is told of candidates that the answer does not hold. It may be
	// nil, and may be called before Publish returns.
	OnCandidate func(Candidate)
	// OnClose is told once when the connection ends by itself; it may be nil. It
	// is not called because of Close, and may call it.
	OnClose func(error)
}

// Publisher is the connection by which a session sends its media here.
type Publisher struct {
	*conn
	e        *Engine
	group    *group
	feed     *feed
	streams  map[streamKey]stream      // never changed
	ssrcs    map[origin]*atomic.Uint32 // of the layers, 0 before it is known
	asker    *asker
	channels atomic.Int32
}

type streamKey struct{ mid, rid string }

// Publish answers an offer.
func (e *Engine) Publish(ctx context.Context, r PublishRequest) (*Publisher, string, error) {
	if !r.ID.Valid() || len(r.Group) > maxGroup {
		return nil, "", fmt.Errorf("%w: id", ErrBadPublication)
	}
	o, err := parseOffer(r.Offer)
	if err != nil {
		return nil, "", err
	}
	c, err := newConn(e.net, e.net.publish, nil, r.OnCandidate, r.OnClose, e.recovered)
	if err != nil {
		return nil, "", err
	}
	p := &Publisher{
		conn:    c,
		e:       e,
		streams: map[streamKey]stream{},
		ssrcs:   map[origin]*atomic.Uint32{},
		asker:   newAsker(c.pc.WriteRTCP),
	}
	pub := Publication{ID: r.ID, Edge: e.self, Group: r.Group, Tracks: o.tracks(), Data: o.data()}
	if err := p.register(pub); err != nil {
		_ = p.Close()
		return nil, "", err
	}
	for _, s := range o.streams() {
		p.streams[streamKey{s.mid, s.rid}] = s
		p.ssrcs[s.origin] = new(atomic.Uint32)
		if s.section.kind == Video && slices.Contains(s.section.feedback, feedbackNACK) {
			p.asker.add(s.origin, p.ssrcs[s.origin], &e.metrics.repairs)
		}
		p.feed.layers[s.track][s.layer].up.Store(&uplink{feedback: &publisherFeedback{p: p, at: s.origin}})
	}
	c.pc.OnTrack(p.track)
	c.pc.OnDataChannel(p.dataChannel)

	bitrate := e.cfg.MaxStreamBitrate
	if r.ID.Kind == KindScreen {
		bitrate = e.cfg.MaxScreenBitrate
	}
	answer, err := p.negotiate(ctx, o, bitrate)
	if err != nil {
		_ = p.Close()
		return nil, "", err
	}
	if len(p.asker.layers) > 0 {
		p.run(func() { p.asker.run(p.closing) })
	}
	if bitrate > 0 {
		p.run(func() { p.limit(bitrate) })
	}
	return p, answer, nil
}

// register makes the publisher known; from now on its conn is waited for.
func (p *Publisher) register(pub Publication) error {
	e := p.e
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return ErrClosed
	case e.publishers[pub.ID] != nil:
		return fmt.Errorf("%w: %s", ErrExists, pub.ID)
	case len(e.publishers) >= e.cfg.MaxPublishers:
		return fmt.Errorf("%w: %d publishers", ErrFull, len(e.publishers))
	}
	p.group = e.joinLocked(pub.Group)
	p.group.publishers++
	p.feed = newFeed(pub, &p.group.traffic, e.net)
	e.publishers[pub.ID] = p
	e.wg.Add(1)
	p.release = e.wg.Done
	p.teardown = func() {
		p.feed.finish(ErrPublisherGone)
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.publishers, pub.ID)
		p.group.publishers--
		e.leaveLocked(pub.Group)
	}
	return nil
}

func (p *Publisher) negotiate(ctx context.Context, o *offer, bitrate int) (string, error) {
	err := p.setRemote(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: o.describe()}, o.peer.candidates)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadOffer, err)
	}
	d, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadOffer, err)
	}
	text, err := p.setLocal(ctx, d)
	if err != nil {
		return "", fmt.Errorf("media: answer: %w", err)
	}
	return o.answer(text, bitrate)
}

// Publication describes what is published, muted or not.
func (p *Publisher) Publication() Publication { return p.feed.pub }

// track is called by the library for each layer: at once for those with an
// SSRC in the offer, with the first packet for those with a rid.
func (p *Publisher) track(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
	transceiver := r.RTPTransceiver()
	if transceiver == nil {
		return
	}
	s, ok := p.streams[streamKey{transceiver.Mid(), t.RID()}]
	if !ok {
		return
	}
	ssrc := p.ssrcs[s.origin]
	if !ssrc.CompareAndSwap(0, uint32(t.SSRC())) {
		return // a second stream with the same rid
	}
	l := p.feed.layers[s.track][s.layer]
	clock := &senderClock{}
	l.up.Store(&uplink{feedback: &publisherFeedback{p: p, at: s.origin}, clock: clock.now})
	source := newTrackSource(t, s.section, &p.e.pool, p.e.metrics.sourceDropped)
	source.asked = p.asker.layers[s.origin]
	p.run(source.receive)
	p.run(func() { _ = l.pump(source) })
	p.run(func() { clock.read(r, t.RID()) })
}

func (p *Publisher) dataChannel(d *webrtc.DataChannel) {
	if p.channels.Add(1) > maxDataChannels {
		p.end(ErrConnection)
		return
	}
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		p.feed.data.publish(DataMessage{Text: m.IsString, Data: m.Data})
	})
}

// limit reminds the publisher of its bitrate limit (REMB), as Chromium's
// simulcast heeds no other.
func (p *Publisher) limit(bitrate int) {
	tick := time.NewTicker(rembInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.closing:
			return
		case <-tick.C:
		}
		m := &rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: float32(bitrate)}
		for _, t := range p.feed.pub.Tracks {
			for i := range t.Layers {
				if ssrc := p.ssrcs[origin{t.Index, uint8(i)}].Load(); t.Kind == Video && ssrc != 0 {
					m.SSRCs = append(m.SSRCs, ssrc)
				}
			}
		}
		if len(m.SSRCs) > 0 {
			_ = p.pc.WriteRTCP([]rtcp.Packet{m}) // fails before the handshake
		}
	}
}

// publisherFeedback is the Feedback of one layer.
type publisherFeedback struct {
	p  *Publisher
	at origin
}

// NACK asks at once for what is about to be asked for anyhow.
func (f *publisherFeedback) NACK(seqs []uint16) {
	if l := f.p.asker.layers[f.at]; l != nil {
		l.hasten(seqs, time.Now())
	}
}

func (f *publisherFeedback) Keyframe() {
	ssrc := f.p.ssrcs[f.at].Load()
	if ssrc == 0 {
		return // the first packet will be of a keyframe
	}
	f.p.e.metrics.keyframes.Inc()
	_ = f.p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}) // fails before the handshake
}
