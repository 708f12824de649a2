package media

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media/rewrite"
)

const (
	// rise is which part of the way up a voice goes with each packet: it has a word's
	// loudness after some 60 ms, a click is over by then.
	rise = 1.0 / 3
	// fall is how fast a voice gets quiet, in dB a second: slowly, as one who pauses
	// between sentences goes on speaking.
	fall = 20
	// margin is by how many dB a voice has to be louder than the quietest that is
	// heard, so that two that are alike do not take turns.
	margin = 6
)

// stage has the voices of a Group that are heard: the loudest ones, by what their
// publishers say in each packet (RFC 6464). There is one on each node, with the
// voices of its own publishers and those that other nodes send here. A node
// sends what it hears, to clients and to other nodes: none of the loudest of all is
// missing anywhere, since it is among the loudest at its own node too.
//
// Whoever is heard stays so until somebody is louder, silent or not. So in a Group of
// no more voices than seats all are heard, from their first packet on.
type stage struct {
	room int // how many are heard
	left prometheus.Counter

	mu    sync.Mutex
	heard []*voice // guarded by mu
}

// newStage returns nil when all are to be heard.
func newStage(room int, left prometheus.Counter) *stage {
	if room == 0 {
		return nil
	}
	return &stage{room: room, left: left}
}

// voice is a layer of audio in its Group.
type voice struct {
	stage *stage

	ranked   bool      // guarded by stage.mu; its packets of late tell how loud it is
	on       bool      // guarded by stage.mu; among those that are heard
	gone     bool      // guarded by stage.mu; will not be among them any more
	loudness float64   // guarded by stage.mu; dB above the quietest there is, at the time of last
	last     time.Time // guarded by stage.mu

	// Those who listen see a stream without gaps: what is left out has no numbers.
	numbering rewrite.Numbering // of who forwards
	shift     atomic.Uint32     // the publisher's number less the one that was given, modulo 1<<16
}

// pass tells whether the packet is forwarded, and gives it its number.
func (v *voice) pass(p *Packet) bool {
	if !v.hear(p) {
		v.numbering.Resume()
		v.stage.left.Inc()
		return false
	}
	seq, _, ok := v.numbering.Next(p.Sequence, p.Timestamp)
	if !ok {
		return false // late, from before a time in which it was not heard
	}
	v.shift.Store(uint32(p.Sequence - seq))
	p.renumber(seq)
	return true
}

// restart is for another source, whose numbers have nothing to do with those before.
func (v *voice) restart() { v.numbering = rewrite.Numbering{} }

// original are the publisher's numbers of packets, given those that were made of them.
func (v *voice) original(seqs []uint16) {
	shift := uint16(v.shift.Load())
	for i := range seqs {
		seqs[i] += shift
	}
}

// hear tells whether the voice is among the loudest with this packet. One whose
// publisher does not tell how loud it is cannot be compared, and is always heard; so
// is one whose publisher does not tell any more, as where encryption end to end begins
// during a call.
func (v *voice) hear(p *Packet) bool {
	s := v.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	level := p.Extension(ExtAudioLevel)
	if len(level) == 0 {
		v.ranked = v.ranked && p.Arrival.Sub(v.last) < aliveFor
		return v.on || !v.ranked
	}
	v.ranked = true
	v.loudness, v.last = v.nowLocked(p.Arrival), p.Arrival
	if loudness := float64(127 - level[0]&0x7f); loudness > v.loudness {
		v.loudness += rise * (loudness - v.loudness)
	}
	if !v.on && !v.gone {
		s.admitLocked(v, p.Arrival)
	}
	return v.on
}

// nowLocked is how loud the voice is when no packet has come since.
func (v *voice) nowLocked(now time.Time) float64 {
	return max(v.loudness-fall*max(now.Sub(v.last).Seconds(), 0), 0)
}

// admitLocked lets a voice be heard, if there is room or a quieter one gives way.
func (s *stage) admitLocked(v *voice, now time.Time) {
	if len(s.heard) < s.room {
		s.heard, v.on = append(s.heard, v), true
		return
	}
	quietest, least := 0, s.heard[0].nowLocked(now)
	for i, other := range s.heard[1:] {
		if l := other.nowLocked(now); l < least {
			quietest, least = i+1, l
		}
	}
	if v.loudness > least+margin {
		s.heard[quietest].on = false
		s.heard[quietest], v.on = v, true
	}
}

// leave is the end of the voice.
func (v *voice) leave() {
	s := v.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	v.on, v.gone = false, true
	s.heard = slices.DeleteFunc(s.heard, func(other *voice) bool { return other == v })
}
