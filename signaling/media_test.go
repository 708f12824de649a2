package signaling_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/mcu"
)

// fakeEngine answers offers and makes offers without any media.
type fakeEngine struct {
	mu        sync.Mutex
	published []media.PubID // guarded by mu
	rebound   []media.PubID // guarded by mu
	hold      chan struct{} // if set, an answer waits for it
}

// bound are the publications that connections were bound to.
func (e *fakeEngine) bound() []media.PubID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.rebound)
}

func (e *fakeEngine) Publish(_ context.Context, r media.PublishRequest) (mcu.Publisher, string, error) {
	e.mu.Lock()
	e.published = append(e.published, r.ID)
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
	tracks := []media.TrackInfo{{Kind: media.Audio, Codec: media.Codec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}, Layers: []media.LayerInfo{{}}}}
	if strings.Contains(r.Offer, "recvonly") {
		tracks = nil
	}
	return fakePublisher{media.Publication{ID: r.ID, Group: r.Group, Tracks: tracks}}, "v=0 answer to " + r.ID.Kind, nil
}

func (e *fakeEngine) Subscribe(_ context.Context, r media.SubscribeRequest) (mcu.Subscriber, string, error) {
	p := r.Publications[0]
	return fakeSubscriber{e}, fmt.Sprintf("v=0 offer of %s at %s", p.ID.Kind, p.Edge), nil
}

type fakePublisher struct{ p media.Publication }

func (p fakePublisher) Publication() media.Publication   { return p.p }
func (fakePublisher) AddCandidate(media.Candidate) error { return nil }
func (fakePublisher) Close() error                       { return nil }

type fakeSubscriber struct{ e *fakeEngine }

func (fakeSubscriber) Answer(string) error                       { return nil }
func (fakeSubscriber) Offer(context.Context) (string, error)     { return "v=0 again", nil }
func (fakeSubscriber) AddCandidate(media.Candidate) error        { return nil }
func (fakeSubscriber) Select(media.PubID, media.Selection) error { return nil }
func (s fakeSubscriber) Rebind(p media.Publication) error {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	s.e.rebound = append(s.e.rebound, p.ID)
	return nil
}
func (fakeSubscriber) Close() error { return nil }
