package media

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media/rewrite"
)

const (
	// tolerance is the part of a limit by which it may be exceeded for good: headers,
	// and encoders that come near their bitrate only.
	tolerance = 1.0 / 20
	// policeBurst is how long twice the limit may last: a keyframe is much at once, and
	// a client that is told of a lower limit needs a moment.
	policeBurst = 2 * time.Second
	// leastBurst is room for a keyframe whatever the limit is, in bytes.
	leastBurst = 128 << 10
	// advance is what a layer takes out of its allowance at once, in bytes, so that
	// most packets cost no lock.
	advance = 16 << 10
	// leastPacket is what a packet counts for at least, in bytes: sending it costs
	// about as much whatever it holds, for each who listens.
	leastPacket = 100
	// maxAudioBitrate is what Opus makes at most, 510 kbit/s (RFC 6716 2.1.1), and headers.
	maxAudioBitrate = 550_000
	// A layer above the lowest one that exceeded the allowance is left out for
	// firstClosed, and each time twice as long, up to longestClosed: those who receive
	// it have another one meanwhile. It begins anew after it was in bounds for that long.
	firstClosed   = 4 * time.Second
	longestClosed = 64 * time.Second
)

// allowance is what a publisher may send: a bucket that fills at its limit. All
// layers of its video have one together, as a client's limit is that of all.
type allowance struct {
	mu    sync.Mutex
	limit int       // bit/s; guarded by mu; 0: none
	rate  float64   // bytes a second; guarded by mu
	burst float64   // bytes that there is room for; guarded by mu
	level float64   // bytes; guarded by mu; below 0 after a frame that was larger than what there was
	at    time.Time // of level; guarded by mu

	raised atomic.Uint32 // how often more was allowed; for anybody
}

// set changes the limit, in bit/s; 0 is none. Who begins has all there is room for.
func (a *allowance) set(limit int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if limit == a.limit {
		return
	}
	fresh := a.limit == 0
	if !fresh && (limit == 0 || limit > a.limit) {
		a.raised.Add(1)
	}
	a.limit = limit
	a.rate = float64(limit) / 8 * (1 + tolerance)
	a.burst = max(a.rate*policeBurst.Seconds(), leastBurst)
	if a.level = min(a.level, a.burst); fresh {
		a.level = a.burst
	}
}

func (a *allowance) fillLocked(now time.Time) {
	if passed := now.Sub(a.at); passed > 0 {
		a.level = min(a.level+a.rate*min(passed, time.Minute).Seconds(), a.burst)
		a.at = now
	}
}

// take returns at least need bytes as long as a part of the burst is left, for those
// that matter more, or else 0. Who begins (anew) wants half a burst more than that.
func (a *allowance) take(need, reserved float64, begins bool, now time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit == 0 {
		return max(need, advance)
	}
	a.fillLocked(now)
	if begins {
		reserved += 1.0 / 2
	}
	if a.level < reserved*a.burst {
		return 0
	}
	n := max(need, advance)
	a.level -= n
	return n
}

// borrow is for the rest of a frame, which is worth nothing without: within a burst.
func (a *allowance) borrow(need float64, now time.Time) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fillLocked(now); a.level < -a.burst {
		return 0
	}
	a.level -= need
	return need
}

// ready tells whether there is enough to begin.
func (a *allowance) ready(reserved float64, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fillLocked(now)
	return a.limit == 0 || a.level >= (reserved+1.0/2)*a.burst
}

// police keeps a layer of a publisher within what it is allowed. What is too much goes
// to nobody and has no numbers, as with voices that are not heard: those who receive
// see a stream without gaps, in picture ids as well. Of video whole frames are left out, until a keyframe
// comes, which is asked for when there is room for it. It is of who forwards, but for
// what says otherwise.
//
//	trackSource ─▶ police ─▶ voice ─▶ history, sinks
//	     allowance ──┘  of the publisher's video, or of a track of audio
type police struct {
	video    bool
	begins   func(payload []byte) bool // of its format
	allowed  *allowance
	reserved float64 // part of the burst for the layers below
	metrics  *metrics
	track    []*layer          // all layers of the track; set by whose they are
	run      func(func()) bool // apart from who forwards; likewise

	credit float64 // bytes that were taken, and not used yet
	stamp  uint32  // of the newest frame that passed
	any    bool    // something has passed
	high   uint16  // its newest number, before anything was left out
	cut    bool    // something was left out: numbers are not the publisher's any more

	shut    atomic.Bool // nothing passes; for anybody
	until   time.Time   // at least
	closed  time.Duration
	opened  time.Time
	raised  uint32 // of allowed, at that time
	wishing bool   // there is room for a keyframe
	turned  bool   // shut is another since the last time that it was asked

	numbering rewrite.Numbering
	pictures  rewrite.Pictures
	shift     atomic.Uint32 // the publisher's number less the one that was given, modulo 1<<16; for anybody

	packets, bytes int // left out, not counted yet
}

func newPolice(l *layer, a *allowance, reserved float64, m *metrics) *police {
	return &police{video: l.video, begins: l.begins, allowed: a, reserved: reserved, metrics: m}
}

// cost is what a packet takes of the allowance, in bytes.
func cost(p *Packet) float64 { return float64(max(p.n, leastPacket)) }

// pass tells whether the packet is forwarded, and gives it its number.
func (s *police) pass(p *Packet) bool {
	if s.video {
		p.describe(s.begins)
	}
	need := cost(p)
	if s.video && s.shut.Load() && !s.open(p) || s.credit < need && !s.earn(p, need) {
		s.leave(p)
		return false
	}
	s.credit -= need
	if !s.any || int32(p.Timestamp-s.stamp) > 0 {
		s.stamp = p.Timestamp
	}
	if s.cut {
		seq, _, ok := s.numbering.Next(p.Sequence, p.Timestamp)
		if !ok {
			return false // late, from before something was left out
		}
		s.shift.Store(uint32(p.Sequence - seq))
		p.renumber(seq)
	} else if !s.any || int16(p.Sequence-s.high) > 0 {
		s.high = p.Sequence
	}
	s.any = true
	if s.video {
		p.repicture(&s.pictures)
	}
	return true
}

// earn takes what is needed for a packet. A frame that has begun is let through.
func (s *police) earn(p *Packet, need float64) bool {
	n := s.allowed.take(need, s.reserved, false, p.Arrival)
	if n == 0 && s.video && s.any && int32(p.Timestamp-s.stamp) <= 0 {
		n = s.allowed.borrow(need, p.Arrival)
	}
	if n == 0 {
		s.close(p.Arrival)
		return false
	}
	s.credit += n
	return true
}

// close leaves out what comes, of audio packet by packet.
func (s *police) close(now time.Time) {
	if !s.cut {
		s.cut = true
		if s.any {
			s.numbering.Follow(s.high, s.stamp)
		}
	}
	s.numbering.Resume()
	s.pictures.Restart()
	if !s.video {
		return
	}
	s.shut.Store(true)
	s.turned = true
	if s.reserved == 0 {
		return
	}
	s.raised = s.allowed.raised.Load()
	if s.closed *= 2; s.closed == 0 || now.Sub(s.opened) > longestClosed {
		s.closed = firstClosed
	}
	s.closed = min(s.closed, longestClosed)
	s.until = now.Add(s.closed)
}

// open goes on with a keyframe, if there is room.
func (s *police) open(p *Packet) bool {
	if now := s.allowed.raised.Load(); now != s.raised { // what was too much is not any more, perhaps
		s.raised, s.closed, s.until = now, 0, time.Time{}
	}
	if s.wishing = !p.Arrival.Before(s.until) && s.allowed.ready(s.reserved, p.Arrival); !s.wishing {
		return false
	}
	if !p.keyframe {
		return false
	}
	n := s.allowed.take(cost(p), s.reserved, true, p.Arrival)
	if n == 0 {
		return false // another layer was faster
	}
	s.credit += n
	s.opened, s.wishing, s.turned = p.Arrival, false, true
	s.stamp = p.Timestamp // whatever was left out: nothing of this frame has passed
	s.shut.Store(false)
	return true
}

func (s *police) leave(p *Packet) {
	s.packets++
	s.bytes += p.n
}

// count counts what was left out, and tells whether a keyframe is wished for.
func (s *police) count() (wishing bool) {
	if s.packets > 0 {
		s.metrics.policed(s.video, s.packets, s.bytes)
	}
	s.packets, s.bytes = 0, 0
	return s.wishing
}

// listened tells whether anybody gets a layer of the track, and so may get this one.
func (s *police) listened() bool { return slices.ContainsFunc(s.track, (*layer).attached) }

// turns lets those who get a layer of the track look which one is right, when this one
// has been shut or opened. They would within a second, too.
func (s *police) turns() {
	if s.turned && len(s.track) > 1 {
		s.run(func() {
			for _, l := range s.track {
				l.reviewed()
			}
		})
	}
	s.turned = false
}

// original are the publisher's numbers of packets, given those that were made of them.
func (s *police) original(seqs []uint16) {
	shift := uint16(s.shift.Load())
	for i := range seqs {
		seqs[i] += shift
	}
}
