package mediatest

import (
	"fmt"
	"slices"

	"github.com/pion/webrtc/v4"
)

// Checker follows one received stream. It is for one goroutine.
type Checker struct {
	kind    string
	codec   string // of video, see Generator.Codec
	started bool
	low     int64
	high    int64 // sequence numbers, unwrapped
	seen    map[int64]bool
	highTS  uint32
	stream  uint32            // of the highest packet
	offsets map[uint32]uint32 // of each stream, as it was last begun: received minus sent timestamp
	picture uint16
	have    bool
	report  Report
}

// Report is what a Checker found.
type Report struct {
	Packets   int
	Bytes     int
	Keyframes int
	// Missing are sequence numbers below the highest that never came.
	Missing int
	// Duplicates came twice, Late after a higher one.
	Duplicates int
	Late       int
	// Streams are the numbers of the generators, in the order of appearance.
	Streams []uint32
	// Steps are where the packets of one generator follow on those of another.
	Steps []Step
	// First and Last are the marks of the first and the last packet.
	First, Last Mark
	// Faults are deviations, at most ten of them in words.
	Faults []string
}

// Step is from the last packet of one generator to the first of another: by how
// many frames since each of them began, and by how much in the timestamps
// received. Generators that began together are at one frame at one time.
type Step struct {
	Frames int
	Ticks  uint32
}

// NewChecker returns a checker for a stream of the kind.
func NewChecker(kind string) *Checker {
	return &Checker{kind: kind, seen: map[int64]bool{}, offsets: map[uint32]uint32{}}
}

// Report returns what was found so far.
func (c *Checker) Report() Report {
	r := c.report
	if c.started {
		r.Missing = int(c.high-c.low) + 1 - len(c.seen)
	}
	r.Streams = append([]uint32(nil), r.Streams...)
	r.Steps = append([]Step(nil), r.Steps...)
	r.Faults = append([]string(nil), r.Faults...)
	return r
}

// Missing returns the sequence numbers that have not come, at most 64.
func (c *Checker) Missing() []uint16 {
	var out []uint16
	for at := c.low; at < c.high && len(out) < 64; at++ {
		if !c.seen[at] {
			out = append(out, uint16(at))
		}
	}
	return out
}

func (c *Checker) fault(format string, args ...any) {
	if len(c.report.Faults) < 10 {
		c.report.Faults = append(c.report.Faults, fmt.Sprintf(format, args...))
	}
}

// Packet takes one received packet.
func (c *Checker) Packet(seq uint16, ts uint32, payload []byte) {
	m, err := read(c.kind, c.codec, payload)
	if err != nil {
		c.fault("sequence %d: %v", seq, err)
		return
	}
	at := int64(seq)
	if c.started {
		at = c.high + int64(int16(seq-uint16(c.high)))
	}
	if c.seen[at] {
		c.report.Duplicates++
		return
	}
	c.report.Packets++
	c.report.Bytes += len(payload)
	if m.Keyframe {
		c.report.Keyframes++
	}
	late := c.started && at < c.high
	c.timestamps(m, seq, ts, late)
	c.seen[at] = true
	if late {
		c.report.Late++
		c.low = min(c.low, at)
		return
	}
	if !c.started {
		c.low, c.report.First = at, m
	} else if int32(ts-c.highTS) < 0 {
		c.fault("sequence %d: timestamp goes back by %d", seq, c.highTS-ts)
	}
	c.pictures(m, seq, !c.started || at == c.high+1)
	c.started, c.high, c.highTS = true, at, ts
	c.report.Last = m
}

// timestamps: as long as one stream goes on, received and sent ones differ by a
// constant. A late packet begins nothing: what was sent again of the stream
// before may come when another one flows.
func (c *Checker) timestamps(m Mark, seq uint16, ts uint32, late bool) {
	offset, known := c.offsets[m.Stream]
	switch {
	case !late && c.started && m.Stream != c.stream:
		c.report.Steps = append(c.report.Steps, Step{m.Frame(c.kind) - c.report.Last.Frame(c.kind), ts - c.highTS})
		fallthrough
	case !known:
		c.offsets[m.Stream] = ts - m.Timestamp
	case offset != ts-m.Timestamp:
		c.fault("sequence %d: timestamp is off by %d", seq, int32(ts-m.Timestamp-offset))
	}
	if !slices.Contains(c.report.Streams, m.Stream) {
		c.report.Streams = append(c.report.Streams, m.Stream)
	}
	if !late {
		c.stream = m.Stream
	}
}

// pictures: the picture id of VP8 stays or goes on by one.
func (c *Checker) pictures(m Mark, seq uint16, adjacent bool) {
	if c.kind != Video || codecOf(c.codec).mime != webrtc.MimeTypeVP8 {
		return
	}
	if c.have && adjacent {
		if step := (m.Picture - c.picture) & 0x7fff; step > 1 {
			c.fault("sequence %d: picture id jumps by %d", seq, step)
		}
	}
	c.have, c.picture = true, m.Picture
}
