package media

import (
	"cmp"
	"math"
	"slices"
)

// unlimited is the limit of a downTrack while nothing is left out.
const unlimited = MaxLayers - 1

// Shed is how much video is left out, in streams: one track to one subscriber
// each.
type Shed struct {
	Streams int // of video that subscribers want
	Lowered int // of them, those that get a worse layer than they want
	Paused  int // of them, those that get nothing
}

// Restraint is what overload does to a track of video that a subscriber wants.
type Restraint uint8

// The restraints.
const (
	Unrestrained Restraint = iota
	Lowered                // a worse layer
	Paused                 // nothing
)

// Shed leaves out a share of the video to subscribers, 0 is nothing and 1 all.
// Voice, and what other nodes pull, is always forwarded. Who comes later is not
// taken in before the next call, so that a node repeats it while the share is
// above 0.
func (e *Engine) Shed(share float64) Shed {
	tracks := e.videoTracks()
	wishes := make([]wish, len(tracks))
	for i, d := range tracks {
		wishes[i] = d.wish()
	}
	var done Shed
	for i, limit := range shed(wishes, share) {
		restraint := wishes[i].under(limit)
		tracks[i].restrain(limit, restraint)
		switch restraint {
		case Paused:
			done.Paused++
		case Lowered:
			done.Lowered++
		}
		if wishes[i].top >= 0 {
			done.Streams++
		}
	}
	e.metrics.shed(done)
	return done
}

// videoTracks are those of connections that are established, the oldest
// connection first.
func (e *Engine) videoTracks() []*downTrack {
	e.mu.Lock()
	subscribers := make([]*Subscriber, 0, len(e.subscribers))
	for s := range e.subscribers {
		if s.established.Load() {
			subscribers = append(subscribers, s)
		}
	}
	e.mu.Unlock()
	slices.SortFunc(subscribers, func(a, b *Subscriber) int { return cmp.Compare(a.order, b.order) })
	var tracks []*downTrack
	for _, s := range subscribers {
		for _, sub := range s.subs {
			for _, d := range sub.tracks {
				if d.kind == Video {
					tracks = append(tracks, d)
				}
			}
		}
	}
	return tracks
}

// wish is what a subscriber wants of a track of video.
type wish struct {
	top    int  // the best layer; below 0 none
	screen bool // not a camera
}

// under tells what a limit does to the wish.
func (w wish) under(limit int) Restraint {
	switch {
	case limit >= w.top:
		return Unrestrained
	case limit < 0:
		return Paused
	}
	return Lowered
}

// shed decides on the best layer that each track may have, below 0 for none. The
// tracks come from the oldest to the newest. What is left out first is what is
// missed least, and always the newest's before the others': cameras get worse, a
// layer at a time, then they are paused, then the same is done to screens.
func shed(wishes []wish, share float64) []int {
	limits := make([]int, len(wishes))
	var steps int
	for i, w := range wishes {
		limits[i] = unlimited
		steps += w.top + 1
	}
	left := int(math.Ceil(share * float64(steps)))
	for _, screen := range []bool{false, true} {
		// The last round is the pause, which takes the lowest layer.
		for round := range MaxLayers {
			for i, w := range slices.Backward(wishes) {
				lower := w.top - 1 - round
				if round == MaxLayers-1 {
					lower = -1
				} else if lower < 0 {
					continue
				}
				if w.screen != screen || w.top < 0 {
					continue
				}
				if left == 0 {
					return limits
				}
				limits[i] = lower
				left--
			}
		}
	}
	return limits
}

func (d *downTrack) wish() wish {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused || d.silent || d.feed == nil || d.out.writer == nil {
		return wish{top: -1}
	}
	return wish{top: min(d.target, len(d.feed.layers[d.track])-1), screen: d.feed.pub.ID.Kind == KindScreen}
}

// restrain sets the best layer that there is strength for, and tells who asked to
// be told when that is something else for the subscriber.
func (d *downTrack) restrain(limit int, r Restraint) {
	d.mu.Lock()
	same, news := d.limit == limit, d.restraint != r && d.feed != nil
	var id PubID
	if news {
		d.restraint, id = r, d.feed.pub.ID
	}
	d.mu.Unlock()
	if !same {
		d.change(func() { d.limit = limit })
	}
	if news && d.onRestraint != nil {
		d.onRestraint(id, r)
	}
}
