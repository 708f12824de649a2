// Package repair knows which packets of a stream are missing, and when to ask
// for each:
//
//	arriving packets ──Arrived──▶ Stream ──Due──▶ requests
//	receivers' requests ──Want, Hasten──▶
//
// It has no clock, no goroutine and no format of its own: who uses it says what
// time it is, and sends what is due. A lost packet is asked for until it comes,
// on whichever way, or is of no use any more.
package repair

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxMissing bounds what is missing at once; the oldest is given up. A gap
	// that is longer is none to be filled.
	maxMissing = 512
	// reach is how far back a packet is worth asking for: the history that the
	// nodes keep of a video.
	reach = 1024
)

// Rule says when a missing packet is asked for. All fields are required.
type Rule struct {
	// Wait lets a packet come that was only overtaken.
	Wait time.Duration
	// Asks is how often a packet is asked for at most.
	Asks int
	// First is the time between two asks until the round trip is known; then it
	// is half a round trip more than one, and at least Min. It doubles from ask
	// to ask, up to Max.
	First, Min, Max time.Duration
}

// Outcomes counts what became of missing packets, of any number of streams.
// Asked counts requests, the others packets.
type Outcomes struct {
	Asked, Repaired, Abandoned atomic.Uint64
}

// Stream is what is missing of one stream, by its RTP sequence numbers.
type Stream struct {
	rule     Rule
	outcomes *Outcomes

	mu      sync.Mutex // guards what follows
	started bool
	highest uint16
	strange uint16 // follows a packet that was out of reach, if odd
	odd     bool
	missing []packet      // in the order of noticing
	trip    time.Duration // smoothed time from asking to arrival, 0 at first
}

type packet struct {
	seq   uint16
	asks  int
	first time.Time // when it was asked for at first
	due   time.Time
}

// New returns a stream of which nothing has come.
func New(rule Rule, o *Outcomes) *Stream { return &Stream{rule: rule, outcomes: o} }

// Arrived takes note of a packet, sent for the first time or again; true when
// others were found missing.
func (s *Stream) Arrived(seq uint16, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ahead := int(int16(seq - s.highest))
	switch {
	case !s.started:
		s.started, s.highest = true, seq
		return false
	case ahead > maxMissing || ahead <= -reach:
		s.farLocked(seq)
		return false
	case ahead > 0:
		s.odd = false
		for q := s.highest + 1; q != seq; q++ {
			s.addLocked(packet{seq: q, due: now.Add(s.rule.Wait)})
		}
		s.highest = seq
		return ahead > 1
	default:
		s.foundLocked(seq, now)
		return false
	}
}

// farLocked takes a packet that is out of reach. One alone is a very late one,
// or a probe that repeats an old packet. With a second that follows it, the
// sender numbers anew, or the way was down for long (RFC 3550 A.1).
func (s *Stream) farLocked(seq uint16) {
	if !s.odd || seq != s.strange {
		s.odd, s.strange = true, seq+1
		return
	}
	s.odd = false
	s.outcomes.Abandoned.Add(uint64(len(s.missing)))
	s.missing = s.missing[:0]
	s.highest = seq
}

// Want takes note of packets that a receiver misses, also of those that came
// here or were given up: who is asked may have them. It is true when one of
// them is to be asked for now.
func (s *Stream) Want(seqs []uint16, now time.Time) bool { return s.want(seqs, now, true) }

// Hasten is Want for what was found missing already: as somebody waits for it,
// it is not waited for. Everything else is left alone.
func (s *Stream) Hasten(seqs []uint16, now time.Time) bool { return s.want(seqs, now, false) }

func (s *Stream) want(seqs []uint16, now time.Time, unknown bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var news bool
	for _, seq := range seqs {
		if ahead := int(int16(seq - s.highest)); !s.started || ahead > 0 || ahead <= -reach {
			continue
		}
		i := s.indexLocked(seq)
		switch {
		case i < 0 && unknown:
			s.addLocked(packet{seq: seq, due: now})
		case i >= 0 && s.missing[i].asks == 0:
			s.missing[i].due = now
		default:
			continue // asked for already
		}
		news = true
	}
	return news
}

// Due appends to seqs what is to be asked for now, as far as there is room.
func (s *Stream) Due(now time.Time, seqs []uint16) []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := s.missing[:0]
	for _, p := range s.missing {
		if !p.due.After(now) && len(seqs) < cap(seqs) {
			if p.asks >= s.rule.Asks || s.highest-p.seq >= reach {
				s.outcomes.Abandoned.Add(1)
				continue
			}
			seqs = append(seqs, p.seq)
			s.outcomes.Asked.Add(1)
			if p.asks == 0 {
				p.first = now
			}
			p.asks++
			p.due = now.Add(s.retryLocked(p.asks))
		}
		keep = append(keep, p)
	}
	s.missing = keep
	return seqs
}

// Next is when something is due; zero when nothing is missing.
func (s *Stream) Next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at time.Time
	for _, p := range s.missing {
		at = Earlier(at, p.due)
	}
	return at
}

// Missing tells whether something is missing that is not given up.
func (s *Stream) Missing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.missing) > 0
}

func (s *Stream) addLocked(p packet) {
	if len(s.missing) == maxMissing {
		s.outcomes.Abandoned.Add(1)
		s.missing = append(s.missing[:0], s.missing[1:]...)
	}
	s.missing = append(s.missing, p)
}

func (s *Stream) foundLocked(seq uint16, now time.Time) {
	i := s.indexLocked(seq)
	if i < 0 {
		return
	}
	if p := s.missing[i]; p.asks > 0 {
		s.outcomes.Repaired.Add(1)
		s.learnLocked(p, now)
	}
	s.missing = append(s.missing[:i], s.missing[i+1:]...)
}

// learnLocked takes the time that an answer took. Only for what was asked once
// it is known which question was answered (Karn). Of the others the time since
// the first one is taken when it is longer than what is known: a round trip
// longer than the time between two asks would otherwise never be learned.
func (s *Stream) learnLocked(p packet, now time.Time) {
	trip := now.Sub(p.first)
	switch {
	case s.trip == 0:
		s.trip = trip
	case p.asks == 1 || trip > s.trip:
		s.trip += (trip - s.trip) / 8
	}
}

func (s *Stream) indexLocked(seq uint16) int {
	for i := range s.missing {
		if s.missing[i].seq == seq {
			return i
		}
	}
	return -1
}

// retryLocked is the time until the next ask.
func (s *Stream) retryLocked(asks int) time.Duration {
	wait := s.rule.First
	if s.trip > 0 {
		wait = max(s.rule.Min, s.trip+s.trip/2)
	}
	return min(s.rule.Max, wait<<min(asks-1, 8))
}

// Earlier takes the earlier of two times, of which each may be zero for never.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
