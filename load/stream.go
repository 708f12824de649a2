package load

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// Counts is what a receiver found out about one stream.
type Counts struct {
	// First is the number of the first packet, as the publisher numbered them,
	// and Last that of the last one before the tail.
	First, Last uint32
	// Received is how many different packets came, and Bytes their payloads.
	Received, Bytes uint64
	// Lost is how many between First and Last did not, Gaps how many RTP
	// sequence numbers between those of the two did not, at the end, when all
	// that was reordered or sent again is there.
	Lost, Gaps uint64
	// Repaired came by retransmission, Needless again after that, Reordered after
	// a later one, Duplicates twice without having been asked for.
	Repaired, Needless, Reordered, Duplicates uint64
	// Changed payloads differ from what was sent.
	Changed uint64
	// Inconsistent packets have headers that do not go together with those of
	// the first one: sequence, timestamp, marker, picture id, TL0PICIDX.
	Inconsistent uint64
	// FromKeyframe: the first packet was the begin of a keyframe, or of a voice
	// packet.
	FromKeyframe bool
	// Why has the first reason for Changed or Inconsistent.
	Why string
	// Took is the time from the first packet to the last.
	Took time.Duration
	// Delays of the packets that were sent in the window.
	Delays Delays
}

// Stream checks the packets of one received track.
type Stream struct {
	source uint16
	kind   Kind

	mu      sync.Mutex    // guards all below
	counts  Counts        //
	from    time.Duration // window of the delays; 0 while it is not open
	numbers span          // all that came
	direct  span          // without retransmissions
	seqs    span
	unwrap  unwrap
	begun   bool
	started time.Duration // when the first packet came
	offset  struct {      // of what came to what was sent; constant in a stream
		seq     uint64
		time    uint32
		picture uint16
		tl0     uint8
	}
}

// NewStream checks the stream of the publisher with the number source.
func NewStream(source uint16, kind Kind) *Stream { return &Stream{source: source, kind: kind} }

// Take counts a packet that came now. The caller keeps the packet.
func (s *Stream) Take(p *rtp.Packet, now time.Duration, repaired bool) {
	st, pic, err := s.read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.counts.Changed++
		s.whyLocked("sequence %d: %v", p.SequenceNumber, err)
		return
	}
	if st.Tail && s.begun {
		return
	}
	seq := s.unwrap.next(p.SequenceNumber)
	if !s.begun {
		s.beginLocked(p, st, pic, seq, now)
	}
	s.checkLocked(p, st, pic, seq)
	if !repaired {
		if s.numbers.any && uint64(st.Number) < s.numbers.high {
			s.counts.Reordered++
		}
		if !s.direct.add(uint64(st.Number)) {
			s.counts.Duplicates++
		}
	}
	s.seqs.add(seq)
	if !s.numbers.add(uint64(st.Number)) {
		if repaired {
			s.counts.Needless++
		}
		return
	}
	if repaired {
		s.counts.Repaired++
	}
	s.counts.Bytes += uint64(len(p.Payload))
	s.counts.Took = now - s.started
	if s.from > 0 && st.Sent >= s.from {
		s.counts.Delays.Add(now - st.Sent)
	}
}

// Open opens a window of the delays; what was before is forgotten.
func (s *Stream) Open(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from, s.counts.Delays = max(now, 1), Delays{}
}

// Window tells how many of the packets with the numbers from first to before
// next came, and adds the delays of those sent since Open.
func (s *Stream) Window(first, next uint32, delays *Delays) (came uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delays.Merge(&s.counts.Delays)
	return s.numbers.between(uint64(first), uint64(next))
}

// Kind tells which of a publication's streams it is.
func (s *Stream) Kind() Kind { return s.kind }

// Begun tells whether anything came.
func (s *Stream) Begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// Started is when the first packet came.
func (s *Stream) Started() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Complete tells whether all packets up to the one with the number last are
// there.
func (s *Stream) Complete(last uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun && s.numbers.high >= uint64(last) && s.numbers.missing() == 0
}

// Counts closes the count: last is the number of the last packet that the
// publisher sent before the tail.
func (s *Stream) Counts(last uint32) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	if !s.begun {
		return c
	}
	c.First, c.Last = uint32(s.numbers.low), last
	c.Received, c.Lost, c.Gaps = s.numbers.count(), s.numbers.missing(), s.seqs.missing()
	if uint64(last) > s.numbers.high { // the end is missing
		c.Lost += uint64(last) - s.numbers.high
		c.Gaps += uint64(last) - s.numbers.high
	}
	return c
}

func (s *Stream) read(p *rtp.Packet) (st stamp, pic picture, err error) {
	if s.kind == Audio {
		st, err = readAudio(p.Payload)
	} else {
		st, pic, err = readVideo(p.Payload)
	}
	if err == nil && st.Source != s.source {
		err = fmt.Errorf("%w: publisher %d instead of %d", ErrForeign, st.Source, s.source)
	}
	return st, pic, err
}

func (s *Stream) beginLocked(p *rtp.Packet, st stamp, pic picture, seq uint64, now time.Duration) {
	s.begun, s.started = true, now
	s.counts.FromKeyframe = st.Kind == Audio || st.First && st.Key
	s.offset.seq = seq - uint64(st.Number)
	s.offset.time = p.Timestamp - st.Timestamp
	s.offset.picture = (pic.id - uint16(st.Frame)) & 0x7fff
	s.offset.tl0 = pic.tl0 - uint8(st.Frame)
}

func (s *Stream) checkLocked(p *rtp.Packet, st stamp, pic picture, seq uint64) {
	var wrong string
	switch {
	case seq-uint64(st.Number) != s.offset.seq:
		wrong = "sequence"
	case p.Timestamp-st.Timestamp != s.offset.time:
		wrong = "timestamp"
	case s.kind == Audio:
	case p.Marker != st.Last:
		wrong = "marker"
	case (pic.id-uint16(st.Frame))&0x7fff != s.offset.picture:
		wrong = "picture id"
	case pic.tl0-uint8(st.Frame) != s.offset.tl0:
		wrong = "TL0PICIDX"
	}
	if wrong != "" {
		s.counts.Inconsistent++
		s.whyLocked("packet %d (sequence %d): %s does not go with the packets before", st.Number, p.SequenceNumber, wrong)
	}
}

func (s *Stream) whyLocked(format string, args ...any) {
	if s.counts.Why == "" {
		s.counts.Why = fmt.Sprintf(format, args...)
	}
}
