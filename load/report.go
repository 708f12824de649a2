package load

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what a run found out.
type Report struct {
	Window     time.Duration
	Publishers []PublisherReport
	Streams    []StreamReport
}

// PublisherReport is what one publisher sent.
type PublisherReport struct {
	Number uint16
	Node   string
	Sent   Sent
}

// StreamReport is what one subscriber received of one stream.
type StreamReport struct {
	Publisher  uint16
	Subscriber string
	From, To   string // nodes
	Kind       Kind
	Counts     Counts
}

// Relayed tells whether the stream crossed from one node to another.
func (s *StreamReport) Relayed() bool { return s.From != s.To }

// last is the number of the last counted packet of a stream.
func (r *Report) last(publisher uint16, kind Kind) uint32 {
	for _, p := range r.Publishers {
		if p.Number == publisher {
			if kind == Audio {
				return p.Sent.AudioPackets - 1
			}
			return p.Sent.VideoPackets - 1
		}
	}
	return 0
}

// Problems are all deviations from: every packet arrives once, unchanged,
// without a gap, with headers that go together, and video begins with a
// keyframe.
func (r *Report) Problems() []string {
	var out []string
	for i := range r.Streams {
		s := &r.Streams[i]
		c := &s.Counts
		var wrong []string
		for _, w := range []struct {
			n    uint64
			what string
		}{
			{c.Lost, "lost"}, {c.Gaps, "sequence numbers missing"}, {c.Changed, "changed"},
			{c.Inconsistent, "with inconsistent headers"}, {c.Duplicates, "doubled"},
		} {
			if w.n > 0 {
				wrong = append(wrong, fmt.Sprintf("%d %s", w.n, w.what))
			}
		}
		if c.Received != uint64(c.Last)-uint64(c.First)+1 {
			wrong = append(wrong, fmt.Sprintf("%d of %d packets", c.Received, uint64(c.Last)-uint64(c.First)+1))
		}
		if !c.FromKeyframe {
			wrong = append(wrong, "begins within a frame or without a keyframe")
		}
		if c.Why != "" {
			wrong = append(wrong, c.Why)
		}
		if len(wrong) > 0 {
			out = append(out, fmt.Sprintf("%v of publisher %d (%s) at %s (%s): %s",
				s.Kind, s.Publisher, s.From, s.Subscriber, s.To, strings.Join(wrong, ", ")))
		}
	}
	return out
}

// Group is a sum over streams.
type Group struct {
	From, To string
	Kind     Kind
	Streams  int
	// Sent is how many packets there were to receive: for each stream from the
	// first that came to the end of the count.
	Sent, Received, Lost, Gaps, Repaired, Needless, Reordered, Duplicates, Changed uint64
	// Rate is the mean bit rate of the payloads of one stream.
	Rate   float64
	Delays Delays
}

func (g *Group) add(s *StreamReport) {
	c := &s.Counts
	g.Streams++
	if c.Received > 0 {
		g.Sent += uint64(c.Last) - uint64(c.First) + 1
	}
	g.Received += c.Received
	g.Lost += c.Lost
	g.Gaps += c.Gaps
	g.Repaired += c.Repaired
	g.Needless += c.Needless
	g.Reordered += c.Reordered
	g.Duplicates += c.Duplicates
	g.Changed += c.Changed
	if c.Took > 0 {
		rate := float64(c.Bytes) * 8 / c.Took.Seconds()
		g.Rate += (rate - g.Rate) / float64(g.Streams)
	}
	g.Delays.Merge(&c.Delays)
}

// Pairs sums up by pair of nodes and kind.
func (r *Report) Pairs() []*Group {
	type key struct {
		from, to string
		kind     Kind
	}
	byKey := make(map[key]*Group)
	var groups []*Group
	for i := range r.Streams {
		s := &r.Streams[i]
		k := key{s.From, s.To, s.Kind}
		if byKey[k] == nil {
			byKey[k] = &Group{From: s.From, To: s.To, Kind: s.Kind}
			groups = append(groups, byKey[k])
		}
		byKey[k].add(s)
	}
	slices.SortFunc(groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Kind, b.Kind))
	})
	return groups
}

// Paths sums up streams that stay on one node, and those that are relayed.
func (r *Report) Paths() (local, relayed Group) {
	for i := range r.Streams {
		if s := &r.Streams[i]; s.Relayed() {
			relayed.add(s)
		} else {
			local.add(s)
		}
	}
	return local, relayed
}

// String is the report as a table.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "window of %v, %d publishers, %d received streams\n\n",
		r.Window.Round(time.Millisecond), len(r.Publishers), len(r.Streams))
	fmt.Fprintf(&b, "publisher  node  video packets  kbit/s  audio packets  kbit/s  keyframes  asked for  packets asked again  of different  feed late\n")
	for _, p := range r.Publishers {
		s := &p.Sent
		fmt.Fprintf(&b, "%9d  %4s  %13d  %6.0f  %13d  %6.0f  %9d  %9d  %19d  %12d  %9v\n", p.Number, p.Node,
			s.VideoPackets, rate(s.VideoBytes, s.Took), s.AudioPackets, rate(s.AudioBytes, s.Took),
			s.Keyframes, s.KeyframeRequests, s.AskedAgain, s.Missed, round(s.Late))
	}
	const row = "%-9s  %-5s  %7d  %7d  %7d  %4d  %4d  %8d  %8d  %9d  %7d  %9.0f  %8v  %8v  %8v  %8v\n"
	fmt.Fprintf(&b, "\n%-9s  %-5s  streams  to come     came  lost  gaps  repaired  needless  reordered  changed  kbit/s ea  %8s  %8s  %8s  %8s\n",
		"path", "kind", "p50", "p95", "p99", "max")
	write := func(path, kind string, g *Group) {
		d := &g.Delays
		fmt.Fprintf(&b, row, path, kind, g.Streams, g.Sent, g.Received, g.Lost, g.Gaps, g.Repaired, g.Needless, g.Reordered, g.Changed,
			g.Rate/1000, round(d.Quantile(0.5)), round(d.Quantile(0.95)), round(d.Quantile(0.99)), round(d.Max()))
	}
	for _, g := range r.Pairs() {
		write(g.From+" > "+g.To, g.Kind.String(), g)
	}
	local, relayed := r.Paths()
	write("one node", "all", &local)
	write("relayed", "all", &relayed)
	return b.String()
}

func rate(bytes uint64, took time.Duration) float64 {
	if took <= 0 {
		return 0
	}
	return float64(bytes) * 8 / 1000 / took.Seconds()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
