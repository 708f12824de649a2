package media

import "time"

// maxReplay is how many packets are replayed at most: a burst takes as many without
// sending. That is half a second of video of 2.5 Mbit/s.
const maxReplay = 2 * batchSize

// maxPast is by how much a picture that comes again may be older than the last one: it
// began with a keyframe within keyframeInterval, on the way between two nodes and back.
const maxPast = 2 * time.Second

// keyframe is where the last keyframe of a layer begins.
type keyframe struct {
	seq   uint16
	at    time.Time
	epoch uint32
}

// noteKeyframe is of who forwards.
func (l *layer) noteKeyframe(p *Packet) {
	epoch := l.epoch.Load()
	if k := l.key.Load(); k == nil || k.epoch != epoch || int16(p.Sequence-k.seq) > 0 {
		l.key.Store(&keyframe{p.Sequence, p.Arrival, epoch})
	}
}

// sinceKeyframe is what came from the last keyframe on, with references for the
// caller: nothing when that is too old or too much, for then the publisher is asked
// for another one at once.
func (l *layer) sinceKeyframe(now time.Time) (packets []*Packet, epoch uint32) {
	k := l.key.Load()
	if k == nil || k.epoch != l.epoch.Load() || now.Sub(k.at) >= keyframeInterval {
		return nil, 0
	}
	return l.ring.Since(k.seq, maxReplay), k.epoch
}

// replay begins a track with what its layer has had since a keyframe of just now, and
// tells whether there was any. Another keyframe would come only when keyframeInterval
// has passed, however many ask; with it, whoever is new sees at once what all others
// see.
func (d *downTrack) replay(l *layer) bool {
	b := l.net.burst()
	packets, bytes := d.replayTo(b, l)
	flush(b)
	d.stats.out(packets, bytes)
	return packets > 0
}

// replayTo seals all under the lock, so that nothing overtakes it. What the layer is
// writing meanwhile is in the history already, and comes once more after this: the
// stream seals no number twice, which the library does not see to.
func (d *downTrack) replayTo(b burst, l *layer) (packets, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.next
	if d.kind != Video || d.last != nil || t == nil || t.layer != l || d.out.stream == nil {
		return 0, 0
	}
	history, epoch := l.sinceKeyframe(time.Now())
	flows := false
	for _, p := range history {
		if flows = flows || d.begin(t, p); flows {
			if n, ok := d.forward(p, b); ok {
				packets++
				bytes += n
			}
		}
		p.Release()
	}
	if flows {
		t.epoch = epoch // another source that has begun meanwhile begins anew
	}
	return packets, bytes
}
