package media

import (
	"fmt"
	"slices"
	"time"
)

// rebindWait is how long a publication that another one takes the place of is
// kept without a packet.
const rebindWait = 5 * time.Second

// Rebind continues with another publication of a sender: published again, or on
// another node. What was bound before is forwarded until the other one flows.
func (s *Subscriber) Rebind(pub Publication) error {
	if err := forwardable(pub); err != nil {
		return err
	}
	f, release, err := s.e.acquire(pub)
	if err != nil {
		return err
	}
	asked, err := s.rebind(pub.ID, f, release)
	if err != nil {
		release()
		return err
	}
	for _, l := range asked {
		l.keyframe()
	}
	return nil
}

// rebind returns the layers that a keyframe is needed of.
func (s *Subscriber) rebind(id PubID, f *feed, release func()) ([]*layer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.findLocked(id)
	switch {
	case s.ended():
		return nil, ErrClosed
	case sub == nil:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	case !compatible(sub.tracks, f.pub.Tracks):
		return nil, ErrIncompatible
	}
	var asked []*layer
	for i, d := range sub.tracks {
		if l := d.rebind(f, f.pub.Tracks[i].Index); l != nil {
			asked = append(asked, l)
		}
	}
	now := time.Now()
	b := &binding{feed: f, release: release, since: now}
	sub.bound = append(sub.bound, b)
	sub.settle(now) // those that never flowed go at once, so that there are few
	if s.channel != nil {
		s.forwardDataLocked(b)
	}
	return asked, nil
}

func compatible(have []*downTrack, want []TrackInfo) bool {
	return slices.EqualFunc(have, want, func(d *downTrack, t TrackInfo) bool {
		return d.kind == t.Kind && d.codec.same(t.Codec)
	})
}

// settle lets go of publications that nothing comes from any more since others
// took their places.
func (s *Subscriber) settle(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended() {
		return // leave has ended all, or will
	}
	for _, sub := range s.subs {
		sub.settle(now)
	}
}

func (sub *subscription) settle(now time.Time) {
	last := sub.last()
	late := now.Sub(last.since) > rebindWait
	sub.bound = slices.DeleteFunc(sub.bound, func(b *binding) bool {
		if b == last {
			return false
		}
		needed := false
		for _, d := range sub.tracks {
			needed = d.needs(b.feed, now, late) || needed
		}
		if !needed {
			b.end()
		}
		return !needed
	})
}
