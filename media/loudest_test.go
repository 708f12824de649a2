package media

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/prometheus/client_golang/prometheus"
)

// speech makes packets of a voice of 20 ms each.
type speech struct {
	t    *testing.T
	v    *voice
	pool Pool
	head rtp.Header
}

func theatre(t *testing.T, room, voices int) []*speech {
	s := newStage(room, prometheus.NewCounter(prometheus.CounterOpts{}))
	all := make([]*speech, voices)
	for i := range all {
		all[i] = &speech{t: t, v: &voice{stage: s}, head: rtp.Header{
			Version: 2, SSRC: 1, PayloadType: PayloadOpus, SequenceNumber: uint16(65000 + 300*i), Timestamp: uint32(i),
		}}
	}
	return all
}

// packet is the next one, of a loudness in dB; below 0 it does not tell.
func (s *speech) packet(loudness int, at time.Time) *Packet {
	s.t.Helper()
	s.head.SequenceNumber++
	s.head.Timestamp += 960
	h := s.head.Clone()
	if loudness >= 0 {
		if err := h.SetExtension(ExtAudioLevel, []byte{byte(127 - loudness)}); err != nil {
			s.t.Fatal(err)
		}
	}
	p := s.pool.Get()
	n, err := h.MarshalTo(p.Buffer())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.Parse(n + copy(p.Buffer()[n:], "voice")); err != nil {
		s.t.Fatal(err)
	}
	p.Arrival = at
	return p
}

// say tells whether the next packet was heard.
func (s *speech) say(loudness int, at time.Time) bool {
	s.t.Helper()
	p := s.packet(loudness, at)
	defer p.Release()
	return s.v.pass(p)
}

func TestLoudest(t *testing.T) {
	const silence, noise, word, shout = 0, 40, 90, 110
	now := time.Now()
	// For how long each speaks how loud, and who is heard at the end.
	type act struct {
		packets  int
		loudness []int // below -1: no packet
		heard    []bool
	}
	none := -2
	for name, acts := range map[string][]act{
		"all while there is room": {{1, []int{silence, noise, none}, []bool{true, true, false}}},
		"noise gives way to words, within three packets": {
			{50, []int{noise, noise, none}, []bool{true, true, false}}, {3, []int{noise, word, word}, []bool{false, true, true}},
		},
		"a click is not a word": {
			{50, []int{60, 60, none}, []bool{true, true, false}}, {1, []int{60, 60, 80}, []bool{true, true, false}},
			{5, []int{60, 60, silence}, []bool{true, true, false}},
		},
		"who pauses between sentences is not interrupted by noise": {
			{50, []int{word, word, none}, []bool{true, true, false}}, {75, []int{silence, word, noise}, []bool{true, true, false}},
		},
		"who says nothing for long is": {
			{50, []int{word, word, none}, []bool{true, true, false}}, {200, []int{silence, word, noise}, []bool{false, true, true}},
		},
		"so is who sends nothing": {
			{50, []int{word, word, none}, []bool{true, true, false}}, {200, []int{none, word, noise}, []bool{false, true, true}},
		},
		"those who are alike do not take turns": {
			{50, []int{word, word, none}, []bool{true, true, false}}, {500, []int{word, word, word + margin}, []bool{true, true, false}},
		},
		"the quietest gives way": {
			{50, []int{word, word - 10, none}, []bool{true, true, false}}, {50, []int{word, word - 10, shout}, []bool{true, false, true}},
		},
		"who does not tell is always heard, beside the others": {
			{50, []int{word, word, -1}, []bool{true, true, true}},
		},
		"nor is who does not tell any more silent for ever": {
			{50, []int{word, word, noise}, []bool{true, true, false}}, {50, []int{word, word, -1}, []bool{true, true, false}},
			{60, []int{word, word, -1}, []bool{true, true, true}}, {5, []int{word, word, noise}, []bool{true, true, false}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := theatre(t, 2, 3)
			var at int
			for i, a := range acts {
				var heard [3]bool
				for range a.packets {
					at++
					for n, loudness := range a.loudness {
						if loudness > none {
							heard[n] = all[n].say(loudness, now.Add(time.Duration(at)*20*time.Millisecond))
						}
					}
				}
				for n, want := range a.heard {
					if a.loudness[n] > none && heard[n] != want {
						t.Errorf("act %d: voice %d is heard: %v", i, n, heard[n])
					}
				}
			}
		})
	}
}

// Who leaves makes room, and takes none with what comes after.
func TestLoudestLeaves(t *testing.T) {
	now := time.Now()
	all := theatre(t, 1, 2)
	if !all[0].say(100, now) || all[1].say(100, now) {
		t.Fatal("not the first one is heard")
	}
	all[0].v.leave()
	if all[0].say(120, now) || !all[1].say(10, now) {
		t.Fatal("who has left is in the way")
	}
}

// Whatever happened before: when things have been as they are for some time, who is
// louder than all others by more than the margin is heard, and never too many are.
func TestLoudestAreHeard(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		room, voices := 1+r.IntN(4), 1+r.IntN(10)
		all, at := theatre(t, room, voices), time.Now()
		heard, loudness := make([]bool, voices), make([]int, voices)
		for phase := range 4 {
			for i := range loudness {
				loudness[i] = r.IntN(128)
			}
			for range 20 + r.IntN(50) + phase/3*350 {
				at = at.Add(20 * time.Millisecond)
				for i, s := range all {
					if r.IntN(10) > 0 || phase == 3 {
						heard[i] = s.say(loudness[i], at)
					}
				}
				if n := len(all[0].v.stage.heard); n > room || n != min(n, voices) {
					t.Fatalf("%d of %d are heard", n, room)
				}
			}
		}
		sorted := slices.Sorted(slices.Values(loudness))
		for i, l := range loudness {
			if rank := len(sorted) - 1 - (room - 1); l > margin && (rank <= 0 || l > sorted[rank-1]+margin) && l >= sorted[max(rank, 0)] && !heard[i] {
				t.Fatalf("%d of %v are heard: %v, and not the one of %d dB", room, loudness, heard, l)
			}
		}
	}
}

// Who listens gets one stream: nothing seems to be lost, the timestamps show the pause,
// and what is asked for again is what is meant, here and at the publisher.
func TestLoudestIsOneStream(t *testing.T) {
	n := newTwoNodes(t, Audio, 1)
	all := theatre(t, 1, 2)
	l := n.feeds[0].layers[0][0]
	l.voice = all[0].v
	var at time.Duration
	speak := func(packets, mine, other int) {
		for range packets {
			at += 20 * time.Millisecond
			now := n.start.Add(at)
			all[1].say(other, now)
			l.forward([]*Packet{all[0].packet(mine, now)}, flush)
		}
	}
	speak(10, 90, 0)
	speak(50, 0, 90)
	speak(1, 0, 0)
	if len(n.sent) < 10 || len(n.sent) > 30 { // the other is the louder one after a third of a second
		t.Fatalf("%d packets were heard", len(n.sent))
	}
	before := len(n.sent)
	all[1].v.leave()
	all[0].head.SequenceNumber++ // one is lost
	speak(10, 90, 0)
	if got := len(n.sent) - before; got != 10 {
		t.Fatalf("%d of the last 10 were heard", got)
	}
	for i := 1; i < len(n.sent); i++ {
		steps, ticks := n.sent[i].SequenceNumber-n.sent[i-1].SequenceNumber, n.sent[i].Timestamp-n.sent[i-1].Timestamp
		wantTicks := uint32(960)
		if i == before {
			wantTicks *= uint32(61 - before + 1)
		}
		if steps != 1 || ticks != wantTicks {
			t.Errorf("packet %d: %d numbers and %d ticks after the one before, want 1 and %d", i, steps, ticks, wantTicks)
		}
	}
	last := n.sent[len(n.sent)-1]
	seq, ok := n.track.numbering.Source(last.SequenceNumber)
	if p, have := l.ring.Get(seq); !ok || !have || p.Timestamp != all[0].head.Timestamp {
		t.Errorf("packet %d is not in the history as %d", last.SequenceNumber, seq)
	} else {
		p.Release()
	}
	// What this node lacks is asked for by the publisher's number.
	l.recall([]uint16{all[0].head.SequenceNumber + 1 - uint16(all[0].v.shift.Load())}, nil)
	if got := n.asked[0].nacks; !slices.Equal(got, []uint16{all[0].head.SequenceNumber + 1}) {
		t.Errorf("the publisher is asked for %v, want %d", got, all[0].head.SequenceNumber+1)
	}
}
