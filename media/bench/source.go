//go:build linux

package main

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// cycle is how many packets are made beforehand: making one costs as much as
// sending it. They fit the second cache of a core.
const cycle = 512

// maxBurst is how many packets are there at once, at most.
const maxBurst = 64

// source makes the packets of one stream, no two alike. The first limit of them
// are what a mediatest.Checker wants to see; those after repeat their content
// with numbers that go on.
type source struct {
	payload byte // the payload type
	units   []mediatest.Unit
	bursts  []int // the packets of each
	frames  int   // of which the units are
	packets int   // made so far
	burst   int   // those made so far
}

func newSource(kind string, stream uint32, shape Shape, limit int) *source {
	g := mediatest.NewGenerator(kind, stream)
	s := &source{payload: media.PayloadVP8}
	if kind == media.Audio {
		s.payload = media.PayloadOpus
	}
	for len(s.units) < max(limit, cycle) {
		sizes := shape.frame(len(s.bursts))
		g.Size, g.PerFrame = slices.Max(sizes)-rtpHeader, len(sizes)
		if kind == media.Audio {
			g.PerFrame = 1
		}
		var units []mediatest.Unit
		for len(units) < len(sizes) {
			units = append(units, g.Frame()...)
			s.frames++
		}
		for i, n := range sizes {
			units[i].Payload = units[i].Payload[:n-rtpHeader]
		}
		s.units = append(s.units, units...)
		s.bursts = append(s.bursts, len(sizes))
	}
	return s
}

const rtpHeader = 12

// next begins a burst and returns how many packets it has.
func (s *source) next() int {
	n := s.bursts[s.burst%len(s.bursts)]
	s.burst++
	return n
}

// put writes the next packet in the cluster's form and returns its length; key
// makes it the first of a keyframe.
func (s *source) put(b []byte, key bool) int {
	at, pass := s.packets%len(s.units), s.packets/len(s.units)
	s.packets++
	u := s.units[at]
	b[0], b[1] = 0x80, s.payload
	if u.Marker {
		b[1] |= 0x80
	}
	ticks := uint32(960)
	if s.payload == media.PayloadVP8 {
		ticks = 3600
	}
	frames := pass * s.frames
	binary.BigEndian.PutUint16(b[2:], u.Sequence+uint16(pass*len(s.units)))
	binary.BigEndian.PutUint32(b[4:], u.Timestamp+uint32(frames)*ticks)
	binary.BigEndian.PutUint32(b[8:], 1)
	n := rtpHeader + copy(b[rtpHeader:], u.Payload)
	p := b[rtpHeader:n]
	if pass > 0 {
		binary.LittleEndian.PutUint32(p[len(p)-4:], uint32(s.packets))
	}
	if s.payload == media.PayloadVP8 {
		if pass > 0 {
			picture := binary.BigEndian.Uint16(p[2:]) + uint16(frames)
			binary.BigEndian.PutUint16(p[2:], picture|0x8000)
			p[4] += byte(frames)
		}
		if key {
			p[5] &^= 1
		}
	}
	return n
}

// feed lets a source go by runs: so many bursts as time permits, or one each
// interval.
type feed struct {
	source *source
	runs   chan Run
	ended  chan struct{}
	key    atomic.Bool // a keyframe was asked for

	run     Run
	end     time.Time
	next    time.Time
	running bool
	begun   bool // nothing of this burst was put yet
}

// Run is how long a feed goes, and how long it takes from one burst to the
// next; 0 is as fast as it goes.
type Run struct {
	For      time.Duration
	Interval time.Duration
}

func newFeed(s *source) *feed {
	return &feed{source: s, runs: make(chan Run), ended: make(chan struct{})}
}

// put writes the next packet, see source.
func (f *feed) put(b []byte) int {
	key := f.begun && f.key.Load() && f.key.Swap(false)
	f.begun = false
	return f.source.put(b, key)
}

// wait returns when the next burst is due, and of how many packets it is. Whoever
// forwards calls it again only when it has sent the last one.
func (f *feed) wait() int {
	for {
		now := time.Now()
		if f.running && now.Before(f.end) {
			if f.run.Interval > 0 {
				time.Sleep(f.next.Sub(now))
				f.next = f.next.Add(f.run.Interval)
			}
			f.begun = true
			return f.source.next()
		}
		if f.running {
			f.running = false
			f.ended <- struct{}{}
		}
		f.run = <-f.runs
		f.next = time.Now()
		f.end, f.running = f.next.Add(f.run.For), true
	}
}
