package load

import (
	"context"
	"fmt"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Subscription receives one publisher.
type Subscription struct {
	*peer

	// Audio and Video check the tracks; nil for what is not sent.
	Audio, Video *Stream

	sinks   func(Kind) sink
	tracks  chan Kind // that came; bounded by what is legal
	unheard bool      // the node does not forward the voice
}

// sink takes the packets of a track.
type sink interface {
	Take(p *rtp.Packet, now time.Duration, repaired bool)
}

// Talk's clients ask again when there is no offer within this time.
const askAgain = 10 * time.Second

// Subscribe asks for what the session publishes under a number. It returns when
// the connection is up and all tracks have begun.
func (c *Client) Subscribe(ctx context.Context, from store.SessionID, number uint16, what Sending) (*Subscription, error) {
	s, err := c.Ask(ctx, from, number, what)
	if err == nil {
		err = s.Await(ctx)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Ask is Subscribe that does not wait for the connection.
func (c *Client) Ask(ctx context.Context, from store.SessionID, number uint16, what Sending) (*Subscription, error) {
	if err := c.AwaitInCall(ctx, from); err != nil {
		return nil, err
	}
	audio, video := NewStream(number, Audio), NewStream(number, Video)
	s, err := c.request(peerKey{from, what.roomType()}, func(k Kind) sink {
		if k == Audio {
			return audio
		}
		return video
	})
	if err != nil {
		return nil, err
	}
	if what.has(Audio) {
		s.Audio, s.unheard = audio, what.Unheard
	}
	if what.has(Video) {
		s.Video = video
	}
	return s, nil
}

// Await waits until the connection is up and all tracks have begun.
func (s *Subscription) Await(ctx context.Context) error {
	if err := s.await(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for _, stream := range s.Streams() {
		if s.unheard && stream.kind == Audio {
			continue
		}
		if err := s.begun(ctx, stream); err != nil {
			return fmt.Errorf("subscribe: waiting for %v: %w", stream.kind, err)
		}
	}
	return nil
}

// Streams are those that there are.
func (s *Subscription) Streams() []*Stream {
	var all []*Stream
	for _, stream := range []*Stream{s.Audio, s.Video} {
		if stream != nil {
			all = append(all, stream)
		}
	}
	return all
}

// Shed is what the node says that it does to the video, "" before it has said
// anything.
func (s *Subscription) Shed() string {
	sid := s.currentSID()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.shed[sid]
}

// request begins to listen to a session.
func (c *Client) request(from peerKey, sinks func(Kind) sink) (*Subscription, error) {
	p, err := c.newPeer(from)
	if err != nil {
		return nil, err
	}
	s := &Subscription{peer: p, sinks: sinks, tracks: make(chan Kind, 2)}
	p.pc.OnTrack(s.onTrack)
	c.spawn(s.negotiate)
	return s, nil
}

func (s *Subscription) begun(ctx context.Context, stream *Stream) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !stream.Begun() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return s.Err()
		}
	}
	return nil
}

// negotiate is the goroutine of the connection.
func (s *Subscription) negotiate() {
	refusal, err := s.ask()
	again := time.NewTicker(askAgain)
	defer again.Stop()
	for err == nil {
		select {
		case m := <-s.inbox:
			err = s.handle(m)
		case m := <-refusal:
			if m.Error != nil {
				err = m.Error
			}
		case <-again.C:
			if s.currentSID() == "" {
				refusal, err = s.ask()
			}
		case <-s.ctx.Done():
			return
		}
	}
	s.cancel(err)
}

func (s *Subscription) ask() (<-chan wire.ServerMessage, error) {
	s.note(stepAsked)
	return s.c.media(s.ctx, s.message(wire.MediaRequestOffer, nil))
}

func (s *Subscription) handle(m *wire.MediaMessage) error {
	switch m.Type {
	case wire.MediaOffer:
		return s.answer(m)
	case wire.MediaCandidate:
		if sid := s.currentSID(); sid != "" && m.SID != sid {
			return nil
		}
		return s.addCandidate(m.Payload.Candidate)
	}
	return nil
}

// answer takes an offer. A second one with another sid would mean a new
// connection, which nothing in a load asks for.
func (s *Subscription) answer(m *wire.MediaMessage) error {
	if sid := s.currentSID(); sid != "" && sid != m.SID {
		return ErrMoved
	}
	s.note(stepDescribed)
	s.setSID(m.SID)
	if err := s.describe(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: m.Payload.SDP}); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	answer, err := s.pc.CreateAnswer(nil)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	// The answer goes first, as candidates follow from setting it.
	if _, err := s.c.media(s.ctx, s.message(wire.MediaAnswer, &wire.MediaPayload{Type: "answer", SDP: answer.SDP})); err != nil {
		return err
	}
	return s.pc.SetLocalDescription(answer)
}

func (s *Subscription) onTrack(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	kind := Video
	if track.Kind() == webrtc.RTPCodecTypeAudio {
		kind = Audio
	}
	select {
	case s.tracks <- kind:
	default:
		s.cancel(ErrTrack)
		return
	}
	s.c.spawn(func() { s.receive(track, s.sinks(kind)) })
	// The reports of the sender have to be read for the timing of ours.
	s.c.spawn(func() {
		for {
			if _, _, err := receiver.ReadRTCP(); err != nil {
				return
			}
		}
	})
}

// receive is the goroutine of a track.
func (s *Subscription) receive(track *webrtc.TrackRemote, to sink) {
	for {
		packet, attributes, err := track.ReadRTP()
		if err != nil {
			return
		}
		_, repaired := attributes.Get(webrtc.AttributeRtxSsrc).(uint32)
		to.Take(packet, s.c.clock(), repaired)
	}
}
