package plan

import (
	"errors"
	"math"
	"time"
)

// Node is a machine that may be had.
type Node struct {
	CPUs   int     `json:"cpus"`
	Memory float64 `json:"memory_bytes"`
	Link   float64 `json:"link_bps"` // in each direction
}

// Cost is the price of traffic.
type Cost struct {
	// Packet is time of one core for each packet sent, with all that goes with
	// it: receiving, feedback, signaling.
	Packet time.Duration `json:"packet_ns"`
	// Sending and Receiving are memory of a connection, and Base that of a node
	// without any. What somebody sends is kept for a while, once for all.
	Sending   float64 `json:"sending_bytes"`
	Receiving float64 `json:"receiving_bytes"`
	Base      float64 `json:"base_bytes"`
}

// DefaultCost is on the careful side. A packet costs what a node that has
// measured nothing yet takes it for (docs/scale.md), memory what was measured.
func DefaultCost() Cost {
	return Cost{Packet: 20 * time.Microsecond, Sending: 3 << 20, Receiving: 512 << 10, Base: 100 << 20}
}

// What of a machine may be used: up to there a node takes rooms.
const (
	usableCPU    = 0.80
	usableLink   = 0.95
	usableMemory = 0.80
)

// Need is how many nodes it takes.
type Need struct {
	Nodes int `json:"nodes"`
	// What each resource alone would take.
	ByCPU    int `json:"by_cpu"`
	ByLink   int `json:"by_link"`
	ByMemory int `json:"by_memory"`
	// Cores is the CPU time of all nodes together, in cores.
	Cores float64 `json:"cores"`
	// Memory is that of all nodes together.
	Memory float64 `json:"memory_bytes"`
	// Spread is on how many nodes the people of one meeting are, and Relay what
	// goes from node to node for it, all nodes together.
	Spread int     `json:"nodes_per_meeting"`
	Relay  float64 `json:"relay_bps"`
}

// ErrTooLarge tells of a meeting that no number of such nodes can carry: each
// has to receive all that is sent.
var ErrTooLarge = errors.New("one meeting is more than such nodes can carry, however many there are")

// resource is what a meeting takes of one kind, and what a node has of it.
type resource struct {
	meeting float64
	relay   float64 // what each further node of a meeting adds
	node    float64
}

// Nodes computes what meetings need. People of a meeting are on one node if it
// has room for them, as they are sent to the home of their room; spread says
// that they stay where they come to, which is any node.
func (m Meetings) Nodes(r Rates, node Node, cost Cost, spread bool) (Need, error) {
	one := m.meeting(r)
	seconds := cost.Packet.Seconds()
	cpu := resource{one.PacketsOut * seconds, one.packetsPassed * seconds, usableCPU * float64(node.CPUs)}
	out := resource{one.Out, one.passed, usableLink * node.Link}
	in := resource{one.In, one.passed, usableLink * node.Link}
	memory := resource{float64(one.Sending)*cost.Sending + float64(one.Receiving)*cost.Receiving, 0, usableMemory*node.Memory - cost.Base}

	count := func(of ...resource) (nodes, perMeeting int) {
		if spread {
			return m.scattered(of)
		}
		return m.together(of)
	}
	need := Need{}
	if need.Nodes, need.Spread = count(cpu, out, in, memory); need.Nodes == 0 {
		return Need{}, ErrTooLarge
	}
	need.ByCPU, _ = count(cpu)
	need.ByLink, _ = count(out, in)
	need.ByMemory, _ = count(memory)
	further := float64(need.Spread - 1)
	total := float64(m.Count)
	need.Relay = total * further * one.passed
	need.Cores = total * (cpu.meeting + further*cpu.relay)
	need.Memory = total*memory.meeting + float64(need.Nodes)*cost.Base
	return need, nil
}

// together packs whole meetings, and parts one only that fits on no node. Zero
// nodes: it cannot be.
func (m Meetings) together(of []resource) (nodes, perMeeting int) {
	for s := 1; s <= m.Participants; s++ {
		most := math.Inf(1) // meetings, or parts of one, on a node
		for _, r := range of {
			if part := r.part(s); part > 0 {
				most = min(most, max(r.node, 0)/part)
			}
		}
		switch {
		case most < 1:
		case s > 1:
			return m.Count * s, s
		default:
			return max(1, int(math.Ceil(float64(m.Count)/math.Floor(most)))), 1
		}
	}
	return 0, 0
}

// scattered has a part of each meeting on each node.
func (m Meetings) scattered(of []resource) (nodes, perMeeting int) {
	most := m.Count * m.Participants // nodes with nobody are of no use
	for k := 1; k <= most; k++ {
		s, fits := min(k, m.Participants), true
		for _, r := range of {
			fits = fits && float64(m.Count)*float64(s)*r.part(s) <= float64(k)*r.node
		}
		if fits {
			return k, s
		}
	}
	return 0, 0
}

// part is what one of the s nodes of a meeting has of it.
func (r resource) part(s int) float64 {
	return (r.meeting + float64(s-1)*r.relay) / float64(s)
}
