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
	// MaxBitrate is the limit of the video, in bit/s, if that is less than the engine's;
	// 0, or no function: that one. What exceeds it is not forwarded. It is asked for
	// once a second, as it may change, and must not wait.
	MaxBitrate func() int
	// Bitrate is what the publisher itself wishes to stay below, in bit/s; 0: its limit.
	Bitrate int
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
	most     func() int   // bit/s of the video; 0: no limit
	wish     int          // below which the publisher wishes to stay; 0: most
	allowed  allowance    // of the video
	voices   []*allowance // of each track of audio
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
	p := &Publisher{conn: c, e: e, in: in, asker: newAsker(c.pc.WriteRTCP), most: e.mostOf(r), wish: max(r.Bitrate, 0)}
	pub := Publication{ID: r.ID, Edge: e.self, Group: r.Group, Tracks: o.tracks(), Data: o.data()}
	if err := p.register(pub); err != nil {
		_ = p.Close()
		return nil, "", err
	}
	bitrate := p.review()
	p.begin()
	answer, err := p.negotiate(ctx, o, bitrate)
	if err != nil {
		_ = p.Close()
		return nil, "", err
	}
	return p, answer, nil
}

// mostOf is the limit of a publication's video, in bit/s, at any time; 0 is none.
func (e *Engine) mostOf(r PublishRequest) func() int {
	most := e.cfg.MaxStreamBitrate
	if r.ID.Kind == KindScreen {
		most = e.cfg.MaxScreenBitrate
	}
	return func() int {
		if r.MaxBitrate == nil {
			return most
		}
		return lesserLimit(most, r.MaxBitrate())
	}
}

// lesserLimit is the lower of two limits, of which 0 is none.
func lesserLimit(a, b int) int {
	if a <= 0 || b <= 0 {
		return max(a, b)
	}
	return min(a, b)
}

// review allows what the limit is now, and returns what the publisher is asked to
// stay below.
func (p *Publisher) review() int {
	most := p.most()
	p.allowed.set(most)
	audio := 0
	if most > 0 { // publishers have limits here
		audio = maxAudioBitrate
	}
	for _, voice := range p.voices {
		voice.set(audio)
	}
	return lesserLimit(most, p.wish)
}

// begin makes everything ready for the first packet.
func (p *Publisher) begin() {
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
	p.run(func() { p.attend() })
	p.pc.OnDataChannel(p.dataChannel)
	p.connected = func() {
		if p.in.open() != nil {
			p.end(ErrConnection)
		}
	}
}

// police keeps all layers within what is allowed. Of what is reserved for lower layers
// of video the higher ones have nothing, so that the highest is left out first.
func (p *Publisher) police() {
	for _, layers := range p.feed.layers {
		for i, l := range layers {
			if l.video {
				l.police = newPolice(l, &p.allowed, float64(i)/float64(2*len(layers)), p.e.metrics)
				l.police.track, l.police.run = layers, p.run
				continue
			}
			voice := &allowance{}
			p.voices = append(p.voices, voice)
			l.police = newPolice(l, voice, 0, p.e.metrics)
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
	p.police()
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
