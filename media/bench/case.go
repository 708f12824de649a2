//go:build linux

package main

import (
	"runtime"
	"time"

	"github.com/talkd/talkd/media"
)

// Case is one line of the table.
type Case struct {
	Name      string
	Kind      string
	Size      int // of an RTP packet
	Burst     int
	Receivers int // of each stream
	Streams   int
	// Interval makes it paced: a publisher in the other process sends a burst each
	// interval. Otherwise the packets are made where they are forwarded, as fast as
	// they are taken.
	Interval time.Duration
	AllCores bool    // not on one core
	Limit    float64 // of talkd to the floor, as the project has it; 0: none
}

func (c Case) paced() bool { return c.Interval > 0 }

func tight(name, kind string, size, burst, receivers int, limit float64) Case {
	return Case{Name: name, Kind: kind, Size: size, Burst: burst, Receivers: receivers, Streams: 1, Limit: limit}
}

// quickCases are what to look at while working on the code.
func quickCases() []Case {
	return []Case{
		tight("tight, bursts of 8, 50 receivers", media.Video, 1200, 8, 50, 1.25),
		tight("tight, bursts of 1, 50 receivers", media.Video, 1200, 1, 50, 1.25),
		pacedCase(),
	}
}

func pacedCase() Case {
	c := tight("paced, bursts of 8, 50 receivers, 100 k/s", media.Video, 1200, 8, 50, 1.6)
	c.Interval = 4 * time.Millisecond
	return c
}

// checkCases are sent to receivers that look at every packet.
func checkCases() []Case {
	c := tight("check", media.Video, 1200, 8, checkReceivers, 0)
	p := c
	p.Interval = checkInterval
	return []Case{c, p}
}

// allCases are what docs/performance.md tells of.
func allCases() []Case {
	one := tight("paced, bursts of 8, 1 receiver, 2 k/s", media.Video, 1200, 8, 1, 0)
	one.Interval = 4 * time.Millisecond
	many := tight("paced, bursts of 8, 200 receivers, 100 k/s", media.Video, 1200, 8, 200, 0)
	many.Interval = 16 * time.Millisecond
	wide := tight("all cores, bursts of 8, a stream to 50 for each", media.Video, 1200, 8, 50, 0)
	wide.Streams, wide.AllCores = runtime.NumCPU(), true
	return append(quickCases(),
		tight("tight, bursts of 8, 200 receivers", media.Video, 1200, 8, 200, 1.25),
		tight("tight, bursts of 1, 200 receivers", media.Video, 1200, 1, 200, 1.25),
		tight("tight, bursts of 8, 1 receiver", media.Video, 1200, 8, 1, 0),
		tight("tight, bursts of 1, 1 receiver", media.Video, 1200, 1, 1, 0),
		tight("tight, audio of 100 B, bursts of 4, 50 receivers", media.Audio, 100, 4, 50, 1.25),
		one, many, wide,
	)
}
