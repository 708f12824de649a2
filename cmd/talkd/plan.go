package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/talkd/talkd/load/plan"
	"github.com/talkd/talkd/node/config"
)

// rateFlags are the flags that say what a stream is, in Mbit/s.
func rateFlags(f *flag.FlagSet) *plan.Rates {
	r := plan.DefaultRates()
	for _, v := range []struct {
		rate        *float64
		name, about string
	}{
		{&r.Stream, "stream", "camera and voice together, with all headers, in `MBIT/S`"},
		{&r.Screen, "screen-stream", "a screen, in `MBIT/S`"},
		{&r.Voice, "voice", "a voice alone, in `MBIT/S`"},
	} {
		f.Var((*mbits)(v.rate), v.name, v.about)
	}
	return &r
}

// mbits is a flag in Mbit/s of a value in bit/s.
type mbits float64

func (m *mbits) String() string { return fmt.Sprint(float64(*m) / 1e6) }

func (m *mbits) Set(s string) error { return scaled((*float64)(m), s, 1e6) }

// gigabytes is a flag in GB of a value in bytes.
type gigabytes float64

func (g *gigabytes) String() string { return fmt.Sprint(float64(*g) / 1e9) }

func (g *gigabytes) Set(s string) error { return scaled((*float64)(g), s, 1e9) }

func scaled(to *float64, s string, unit float64) error {
	var v float64
	if _, err := fmt.Sscanf(s+"\n", "%g\n", &v); err != nil || !(v > 0) || math.IsInf(v, 0) {
		return fmt.Errorf("a number above 0 wanted")
	}
	*to = v * unit
	return nil
}

// planned is the answer of talkd plan.
type planned struct {
	plan.Meetings
	plan.Traffic
	Speaker  plan.Link `json:"speaker"`
	Listener plan.Link `json:"listener"`
	PeerUp   float64   `json:"peer_to_peer_up_bps"` // of each, without a server
	Node     plan.Node `json:"node"`
	Cost     plan.Cost `json:"cost"`
	Need     plan.Need `json:"need"`

	rates  plan.Rates
	spread bool
}

// planCommand computes what meetings cost.
func planCommand(_ context.Context, args []string, out, log io.Writer) error {
	f := flags("plan", log)
	var m plan.Meetings
	f.IntVar(&m.Count, "meetings", 1, "meetings at the same time")
	f.IntVar(&m.Participants, "participants", 3, "participants of each")
	f.IntVar(&m.Cameras, "cameras", 0, "of them, who sends picture and voice (default: all who have no open microphone)")
	f.IntVar(&m.Screens, "screens", 0, "of them, who shares a screen as well")
	f.IntVar(&m.Microphones, "microphones", 0, "of them, who has no camera and an open microphone")
	loudestFlag(f, &m.Loudest)
	r := rateFlags(f)
	cost := plan.DefaultCost()
	node := plan.Node{CPUs: 4, Memory: 8e9, Link: 1e9}
	f.IntVar(&node.CPUs, "cpus", node.CPUs, "processors of a node")
	f.Var((*gigabytes)(&node.Memory), "memory", "memory of a node in `GB`")
	f.Var((*mbits)(&node.Link), "link", "network of a node in each direction, in `MBIT/S`")
	f.DurationVar(&cost.Packet, "cost", cost.Packet, "CPU time of one core per packet sent; talkd bench measures it")
	spread := f.Bool("spread", false, "nobody is sent to the home of a room: people stay at whatever node they come to")
	asJSON := f.Bool("json", false, "print JSON")
	if _, err := parse(f, args); err != nil {
		return err
	}
	given := false
	f.Visit(func(v *flag.Flag) { given = given || v.Name == "cameras" })
	if !given {
		m.Cameras = max(m.Participants-m.Microphones, 0)
	}
	if err := m.Validate(); err != nil {
		return usage("%v", err)
	}
	if node.CPUs < 1 || cost.Packet <= 0 {
		return usage("--cpus and --cost: more than 0")
	}
	need, err := m.Nodes(*r, node, cost, *spread)
	if err != nil {
		return err
	}
	p := planned{
		Meetings: m, Traffic: m.Traffic(*r), Speaker: m.Speaker(*r), PeerUp: plan.PeerToPeer(m.Participants, *r),
		Node: node, Cost: cost, Need: need, rates: *r, spread: *spread,
	}
	p.Listener, _ = m.Listener(*r)
	if *asJSON {
		return printJSON(out, p)
	}
	return p.print(out)
}

func (p planned) print(out io.Writer) error {
	m, r, need := p.Meetings, p.rates, p.Need
	err := table(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s\n\n", describe(m))
		fmt.Fprintf(w, "to the servers\t%s\t%s packets/s\n", bits(p.In), thousands(p.PacketsIn))
		fmt.Fprintf(w, "from the servers\t%s\t%s packets/s\n", bits(p.Out), thousands(p.PacketsOut))
		who := "each participant"
		if quiet, less := m.Listener(r); less {
			fmt.Fprintf(w, "who sends least\t%s up\t%s down\n", bits(quiet.Up), bits(quiet.Down))
			who = "who sends most"
		}
		fmt.Fprintf(w, "%s\t%s up\t%s down\n", who, bits(p.Speaker.Up), bits(p.Speaker.Down))
		if m.Cameras == m.Participants && m.Screens == 0 && m.Participants > 1 {
			fmt.Fprintf(w, "the same without a server\t%s up\t%s down\n", bits(p.PeerUp), bits(p.PeerUp))
		}
		fmt.Fprintf(w, "forwarded\t%s streams\ta camera with its voice is two\n", thousands(float64(p.Streams)))
		fmt.Fprintf(w, "connections\t%s send\t%s receive\n", thousands(float64(p.Sending)), thousands(float64(p.Receiving)))
		fmt.Fprintf(w, "CPU, estimated\t%.1f cores\tat %v per packet sent\n", need.Cores, p.Cost.Packet)
		fmt.Fprintf(w, "memory, estimated\t%.1f GB\n", need.Memory/1e9)
		fmt.Fprintf(w, "\nnodes of %d CPUs, %s GB, %s\t%d\tCPU alone %d, network %d, memory %d\n",
			p.Node.CPUs, (*gigabytes)(&p.Node.Memory), bits(p.Node.Link), need.Nodes, need.ByCPU, need.ByLink, need.ByMemory)
		switch {
		case need.Spread > 1 && p.spread:
			fmt.Fprintf(w, "between the nodes\t%s\tnobody is sent anywhere: each meeting is on %d of them\n", bits(need.Relay), need.Spread)
		case need.Spread > 1:
			fmt.Fprintf(w, "between the nodes\t%s\tno node carries a whole meeting: each is on %d\n", bits(need.Relay), need.Spread)
		default:
			fmt.Fprintf(w, "between the nodes\tnothing\ta meeting is at its home (--spread: people stay where they come to)\n")
		}
	})
	if err != nil {
		return err
	}
	for _, note := range p.notes() {
		fmt.Fprintln(out, note)
	}
	return nil
}

// loudestFlag is how many voices nodes forward.
func loudestFlag(f *flag.FlagSet, v *int) {
	f.IntVar(v, "loudest", config.Default().Media.Loudest, "voices of a meeting that are forwarded, as media.loudest of the nodes says; 0: all")
}

func (p planned) notes() []string {
	notes := []string{"", "A node takes rooms up to 80 % of its CPU and memory and 95 % of its network. What keeps working when one fails is one more,", "and at least three of them make decisions without it."}
	if m, all := p.Meetings, p.Meetings; m.Loudest > 0 && m.Cameras+m.Microphones > m.Loudest {
		all.Loudest = 0
		notes = append(notes, fmt.Sprintf("The %d loudest voices are forwarded at a time. If all were, %s would go out.", m.Loudest, bits(all.Traffic(p.rates).Out)))
	}
	return notes
}

func describe(m plan.Meetings) string {
	what := fmt.Sprintf("1 meeting of %d", m.Participants)
	if m.Count > 1 {
		what = fmt.Sprintf("%s meetings of %d", thousands(float64(m.Count)), m.Participants)
	}
	var parts []string
	for _, v := range []struct {
		n         int
		one, more string
	}{{m.Cameras, "camera", "cameras"}, {m.Screens, "screen", "screens"}, {m.Microphones, "open microphone without a camera", "open microphones without a camera"}} {
		switch {
		case v.n == 1:
			parts = append(parts, "1 "+v.one)
		case v.n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", v.n, v.more))
		}
	}
	if len(parts) == 0 {
		parts = []string{"nobody sends"}
	}
	if m.Count > 1 {
		what += ", in each"
	} else {
		what += ","
	}
	return what + " " + strings.Join(parts, ", ")
}

// thousands writes a whole number so that it can be read.
func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
