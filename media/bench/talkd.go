//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/store"
)

// talkd is package media by what it exports. Packets that are made in the
// process come as those of another node do.
type talkd struct {
	engine *media.Engine
	pubs   []media.Publication
	subs   handles[*media.Subscriber]
}

const self, elsewhere = store.NodeID("here"), store.NodeID("there")

func newTalkd(s Setup, feeds []*feed) (*talkd, error) {
	t := &talkd{pubs: make([]media.Publication, s.Streams)}
	remote := remote{}
	for i, f := range feeds {
		t.pubs[i] = publication(i, s.Kind)
		remote[t.pubs[i].ID] = &tapped{feed: f}
	}
	var err error
	t.engine, err = media.NewEngine(
		media.Config{ListenUDP: "127.0.0.1:0"},
		media.Deps{Self: self, Remote: remote},
	)
	return t, err
}

func pubID(stream int) media.PubID {
	return media.PubID{Session: store.SessionID(fmt.Sprint("s", stream)), Kind: media.KindVideo}
}

func publication(stream int, kind string) media.Publication {
	codec := media.Codec{MimeType: "video/VP8", ClockRate: 90000}
	if kind == media.Audio {
		codec = media.Codec{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}
	}
	return media.Publication{
		ID: pubID(stream), Edge: elsewhere, Group: "bench",
		Tracks: []media.TrackInfo{{Kind: kind, Codec: codec, Layers: []media.LayerInfo{{}}}},
	}
}

func (t *talkd) subscribe(stream int, data bool) (int, string, error) {
	s, offer, err := t.engine.Subscribe(context.Background(), media.SubscribeRequest{
		Publications: []media.Publication{t.pubs[stream]}, Group: "bench", DataChannel: data,
	})
	if err != nil {
		return 0, "", err
	}
	return t.subs.add(s), offer, nil
}

func (t *talkd) answer(id int, answer string) error { return t.subs.get(id).Answer(answer) }

func (t *talkd) publish(stream int, offer string) (string, error) {
	p, answer, err := t.engine.Publish(context.Background(), media.PublishRequest{
		ID: pubID(stream), Group: "bench", Offer: offer,
	})
	if err != nil {
		return "", err
	}
	t.pubs[stream] = p.Publication()
	return answer, nil
}

// remote is the other node.
type remote map[media.PubID]*tapped

// Pull implements media.Remote.
func (r remote) Pull(ctx context.Context, pub media.Publication) (*media.Relayed, error) {
	t, ok := r[pub.ID]
	if !ok {
		return nil, media.ErrNotFound
	}
	return &media.Relayed{
		Layers: []media.RelayedLayer{{Source: t, Feedback: t}},
		Done:   ctx.Done(),
		Err:    ctx.Err,
		Close:  t.Close,
	}, nil
}

// tapped is a feed as a media.Source, and the way back to it.
type tapped struct {
	feed *feed
	pool media.Pool
}

// Read implements media.Source.
func (t *tapped) Read(batch []*media.Packet) (int, error) {
	if len(batch) < maxBurst {
		return 0, errors.New("a burst may not fit")
	}
	n := t.feed.wait()
	now := time.Now()
	for i := range n {
		p := t.pool.Get()
		if err := p.Parse(t.feed.put(p.Buffer())); err != nil {
			return 0, err
		}
		p.Arrival = now
		batch[i] = p
	}
	return n, nil
}

// Close implements media.Source. The process ends before its sources do.
func (t *tapped) Close() error { return nil }

// NACK implements media.Feedback.
func (t *tapped) NACK([]uint16) {}

// Keyframe implements media.Feedback.
func (t *tapped) Keyframe() { t.feed.key.Store(true) }
