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
)

// PublishRequest asks to receive the media of a session.
type PublishRequest struct {
	ID    PubID
	Group string
	Offer string
	// Prefer is what the publisher would rather send than Opus and VP8.
	Prefer Preference
	// MaxBitrate is what the publisher is asked not to exceed, if that is less than
	// the limit of the engine; 0: that one.
	MaxBitrate int
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
	in       *ingress
	asker    *asker
	channels atomic.Int32
}

// Publish answers an offer.
func (e *Engine) Publish(ctx context.Context, r PublishRequest) (*Publisher, string, error) {
	if !r.ID.Valid() || len(r.Group) > maxGroup {
		return nil, "", fmt.Errorf("%w: id", ErrBadPublication)
	}
	o, err := parseOffer(r.Offer, r.Prefer)
	if err != nil {
		return nil, "", err
	}
	m, err := forPublishers(o.formats())
	if err != nil {
		return nil, "", err
	}
	in := newIngress(o, &e.pool, e.metrics)
	c, err := newConn(ctx, e.net, m, in, r.OnCandidate, r.OnClose, e.recovered)
	if err != nil {
		return nil, "", err
	}
	in.recovered, in.end = e.recovered, func() { c.end(ErrConnection) }
	p := &Publisher{conn: c, e: e, in: in, asker: newAsker(c.pc.WriteRTCP)}
	pub := Publication{ID: r.ID, Edge: e.self, Group: r.Group, Tracks: o.tracks(), Data: o.data()}
	if err := p.register(pub); err != nil {
		_ = p.Close()
		return nil, "", err
	}
	bitrate := e.cfg.MaxStreamBitrate
	if r.ID.Kind == KindScreen {
		bitrate = e.cfg.MaxScreenBitrate
	}
	if r.MaxBitrate > 0 && (bitrate == 0 || r.MaxBitrate < bitrate) {
		bitrate = r.MaxBitrate
	}
	p.begin(bitrate)
	answer, err := p.negotiate(ctx, o, bitrate)
	if err != nil {
		_ = p.Close()
		return nil, "", err
	}
	return p, answer, nil
}

// begin makes everything ready for the first packet.
func (p *Publisher) begin(bitrate int) {
	for _, i := range p.in.inlets {
		if i.section.kind == Video && slices.Contains(i.section.feedback, feedbackNACK) {
			i.source.asked = p.asker.add(i.origin, &i.ssrc, &p.e.metrics.repairs)
		}
		l := p.feed.layers[i.track][i.layer]
		l.up.Store(&uplink{feedback: &publisherFeedback{p: p, inlet: i}, clock: i.clock.now})
		p.run(func() { _ = l.pump(i.source) })
	}
	if len(p.asker.layers) > 0 {
		p.run(func() { p.asker.run(p.closing) })
	}
	p.run(func() { p.attend(bitrate) })
	p.pc.OnDataChannel(p.dataChannel)
	p.connected = func() {
		if p.in.open() != nil {
			p.end(ErrConnection)
		}
	}
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
	p.feed = newFeed(pub, p.group, e.net)
	e.publishers[pub.ID] = p
	e.wg.Add(1)
	p.release = e.wg.Done
	p.teardown = func() {
		p.in.close()
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

func (p *Publisher) dataChannel(d *webrtc.DataChannel) {
	if p.channels.Add(1) > maxDataChannels {
		p.end(ErrConnection)
		return
	}
	d.OnMessage(func(m webrtc.DataChannelMessage) {
		p.feed.data.publish(DataMessage{Text: m.IsString, Data: m.Data})
	})
}

// publisherFeedback is the Feedback of one layer.
type publisherFeedback struct {
	p     *Publisher
	inlet *inlet
}

// NACK asks at once for what is about to be asked for anyhow.
func (f *publisherFeedback) NACK(seqs []uint16) {
	if l := f.inlet.source.asked; l != nil {
		l.hasten(seqs, time.Now())
	}
}

func (f *publisherFeedback) Keyframe() {
	ssrc := f.inlet.ssrc.Load()
	if ssrc == 0 {
		return // the first packet will be of a keyframe
	}
	f.p.e.metrics.keyframes.Inc()
	// Not here: who asks may be a goroutine of the sockets, and writing may wait.
	f.p.run(func() {
		_ = f.p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}) // fails before the handshake
	})
}
