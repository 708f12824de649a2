//go:build linux

package main

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// cycle is how many packets are made beforehand: making one costs as much as
// sending it. They fit the second cache of a core.
const cycle = 512

// source makes the packets of one stream, no two alike. The first limit of them
// are what a mediatest.Checker wants to see; those after repeat their content
// with numbers that go on.
type source struct {
	payload byte // the payload type
	units   []mediatest.Unit
	burst   int
	packets int // made so far
}

func newSource(kind string, stream uint32, size, burst, limit int) *source {
	g := mediatest.NewGenerator(kind, stream)
	g.Size, g.PerFrame = size-rtpHeader, burst
	s := &source{payload: media.PayloadVP8, burst: burst}
	if kind == media.Audio {
		s.payload, g.PerFrame = media.PayloadOpus, 1
	}
	for len(s.units) < max(limit, cycle) {
		s.units = append(s.units, g.Frame()...)
	}
	return s
}

const rtpHeader = 12

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
	perFrame, ticks := 1, uint32(960)
	if s.payload == media.PayloadVP8 {
		perFrame, ticks = s.burst, 3600
	}
	frames := pass * len(s.units) / perFrame
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
	first := f.source.packets%f.source.burst == 0
	return f.source.put(b, first && f.key.Load() && f.key.Swap(false))
}

// wait returns when the next burst is due. Whoever forwards calls it again only
// when it has sent the last one.
func (f *feed) wait() {
	for {
		now := time.Now()
		if f.running && now.Before(f.end) {
			if f.run.Interval > 0 {
				time.Sleep(f.next.Sub(now))
				f.next = f.next.Add(f.run.Interval)
			}
			return
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
