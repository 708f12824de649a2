package bench

import (
	"context"
	"time"

	"github.com/talkd/talkd/load"
)

// Step is what was found out at one size.
type Step struct {
	Size    int `json:"size"`
	People  int `json:"people"`
	Streams int `json:"streams"` // that somebody received

	// Bits a second, with all headers, and those by the formula. In is to the
	// servers.
	In      float64 `json:"in_bps"`
	Out     float64 `json:"out_bps"`
	PlanIn  float64 `json:"plan_in_bps"`
	PlanOut float64 `json:"plan_out_bps"`
	Relay   float64 `json:"relay_bps"` // between nodes

	Packets float64 `json:"packets"` // a second, that came to people
	Lost    float64 `json:"lost"`    // share of all packets
	Worst   float64 `json:"worst"`   // share that was lost of the stream of which most was

	// From before a packet is sealed by who sends it to after it was opened by who
	// receives it. Late is by how much the senders were behind their schedule: what
	// the machine of the people is to blame for.
	Delay DelayFigures `json:"delay"`
	Late  DelayFigures `json:"late"`

	// Of all nodes that were asked.
	CPU        float64       `json:"cpu_cores"`
	PacketCost time.Duration `json:"packet_cost_ns"` // CPU time for each packet that came
	Memory     float64       `json:"memory_bytes"`
	Written    float64       `json:"written_bytes"` // to disks, in the window

	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
}

// DelayFigures are quantiles of delays.
type DelayFigures struct {
	P50 time.Duration `json:"p50_ns"`
	P95 time.Duration `json:"p95_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
}

func figures(d *load.Delays) DelayFigures {
	return DelayFigures{P50: d.Quantile(0.5), P95: d.Quantile(0.95), P99: d.Quantile(0.99), Max: d.Max()}
}

// tail is how long after a window a packet may come, again if need be.
const tail = time.Second

// measure lets media flow for a window and looks at what came of it.
func (c *crowd) measure(ctx context.Context, size int) (Step, error) {
	m := c.cfg.Scenario.At(size)
	paper := m.Traffic(c.cfg.Rates)
	s := Step{Size: size, People: m.Count * m.Participants, PlanIn: paper.In, PlanOut: paper.Out}

	before, err := ask(ctx, c.cfg.Probes)
	if err != nil {
		return s, err
	}
	c.open()
	began := c.clock()
	up, down := c.network.Traffic.Bytes()
	if err := load.Wait(ctx, c.cfg.Window); err != nil {
		return s, err
	}
	upNow, downNow := c.network.Traffic.Bytes()
	took := (c.clock() - began).Seconds()
	late := c.close()
	s.Late = figures(&late)
	after, err := ask(ctx, c.cfg.Probes)
	if err != nil {
		return s, err
	}
	if err := load.Wait(ctx, tail); err != nil {
		return s, err
	}

	s.In, s.Out = 8*float64(upNow-up)/took, 8*float64(downNow-down)/took
	came := c.count(&s)
	s.Packets = float64(came) / took
	s.CPU = (after.CPU - before.CPU) / took
	if s.Packets > 0 {
		s.PacketCost = time.Duration(s.CPU / s.Packets * 1e9)
	}
	s.Memory, s.Written = after.Memory, after.Written-before.Written
	s.Relay = 8 * (after.Relayed - before.Relayed) / took
	return s, nil
}

// open opens a window: from now on counts.
func (c *crowd) open() {
	now := c.clock()
	for _, p := range c.everybody() {
		for _, h := range p.hears {
			for _, stream := range h.sub.Streams() {
				stream.Open(now)
			}
		}
		for _, pub := range p.sends {
			pub.publisher.Lateness()
			pub.from = pub.publisher.Sent()
		}
	}
}

// close closes the window.
func (c *crowd) close() (late load.Delays) {
	for _, p := range c.everybody() {
		for _, pub := range p.sends {
			pub.till = pub.publisher.Sent()
			l := pub.publisher.Lateness()
			late.Merge(&l)
		}
	}
	return late
}

// count fills in what came of what was sent in the window.
func (c *crowd) count(s *Step) (came uint64) {
	var delays load.Delays
	var sent uint64
	for _, p := range c.everybody() {
		for _, h := range p.hears {
			for _, stream := range h.sub.Streams() {
				if stream.Kind() == load.Audio && h.of.what.Unheard {
					continue
				}
				first, next := h.of.window(stream.Kind())
				got := stream.Window(first, next, &delays)
				s.Streams++
				came += got
				sent += uint64(next - first)
				if next > first {
					s.Worst = max(s.Worst, 1-float64(got)/float64(next-first))
				}
			}
		}
	}
	if sent > 0 {
		s.Lost = 1 - float64(came)/float64(sent)
	}
	s.Delay = figures(&delays)
	return came
}

// window are the numbers of the packets of a stream that were sent in it: from
// first to before next.
func (p *publication) window(k load.Kind) (first, next uint32) {
	if k == load.Audio {
		return p.from.AudioPackets, p.till.AudioPackets
	}
	return p.from.VideoPackets, p.till.VideoPackets
}
