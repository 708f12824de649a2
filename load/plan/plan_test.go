package plan

import (
	"errors"
	"math"
	"testing"
	"time"
)

const mbit = 1e6

func all(n int) Meetings { return Meetings{Count: 1, Participants: n, Cameras: n} }

// The examples of the product sheet, in Mbit/s. Where the sheet rounds, it says
// more than there is: nobody gets his own stream back.
func TestSheet(t *testing.T) {
	for name, tt := range map[string]struct {
		m                 Meetings
		in, out, up, down float64
		sheetIn, sheetOut float64 // 0: as computed
	}{
		"4 people":                       {m: all(4), in: 4, out: 12, up: 1, down: 3},
		"8 people":                       {m: all(8), in: 8, out: 56, up: 1, down: 7},
		"32 people":                      {m: all(32), in: 32, out: 992, up: 1, down: 31},
		"50 people":                      {m: all(50), in: 50, out: 2450, up: 1, down: 49},
		"webinar of 100":                 {m: Meetings{1, 100, 1, 0, 0, 0}, in: 1, out: 99, up: 1, down: 0, sheetOut: 100},
		"webinar of 100 with screen":     {m: Meetings{1, 100, 1, 1, 0, 0}, in: 3, out: 297, up: 3, down: 0, sheetOut: 300},
		"webinar, all microphones open":  {m: Meetings{1, 100, 1, 0, 99, 0}, in: 5.95, out: 589.05, up: 1, down: 4.95, sheetIn: 1, sheetOut: 100},
		"webinar, the loudest are heard": {m: Meetings{1, 100, 1, 0, 99, 5}, in: 5.95, out: 118.8, up: 1, down: .2, sheetIn: 1, sheetOut: 100},
		"50 people, the loudest heard":   {m: Meetings{1, 50, 50, 0, 0, 5}, in: 50, out: 2339.75, up: 1, down: 46.75},
		"500 meetings of 3":              {m: Meetings{500, 3, 3, 0, 0, 0}, in: 1500, out: 3000, up: 1, down: 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := DefaultRates()
			got, link := tt.m.Traffic(r), tt.m.Speaker(r)
			for _, v := range []struct {
				what      string
				got, want float64
			}{{"in", got.In, tt.in}, {"out", got.Out, tt.out}, {"up", link.Up, tt.up}, {"down", link.Down, tt.down}} {
				if math.Abs(v.got-v.want*mbit) > 1 {
					t.Errorf("%s: %.3f Mbit/s, want %.3f", v.what, v.got/mbit, v.want)
				}
			}
			if tt.sheetOut > 0 && tt.sheetOut == tt.out {
				t.Error("the sheet says the same: no slip")
			}
			if err := tt.m.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

// 1 Mbit/s is 108 packets of video and 50 of voice.
func TestPackets(t *testing.T) {
	got := Meetings{500, 3, 3, 0, 0, 0}.Traffic(DefaultRates())
	const one = 950e3/8/1100 + 50
	if math.Abs(got.PacketsIn-1500*one) > 1 || math.Abs(got.PacketsOut-3000*one) > 1 {
		t.Errorf("%.0f packets/s in, %.0f out", got.PacketsIn, got.PacketsOut)
	}
	if got.Streams != 6000 || got.Sending != 1500 || got.Receiving != 3000 {
		t.Errorf("%+v", got)
	}
	got = Meetings{1, 100, 1, 1, 98, 0}.Traffic(DefaultRates())
	if got.Streams != 99*(2+1+98) || got.Receiving != 99*100 || got.Sending != 100 {
		t.Errorf("%+v", got)
	}
}

func TestListener(t *testing.T) {
	for name, tt := range map[string]struct {
		m    Meetings
		want Link
		less bool
	}{
		"webinar":          {Meetings{1, 100, 1, 1, 0, 0}, Link{0, 3 * mbit}, true},
		"open microphones": {Meetings{1, 100, 1, 0, 99, 0}, Link{50e3, 5.9 * mbit}, true},
		"all with cameras": {all(4), Link{1 * mbit, 3 * mbit}, false},
		"the loudest":      {Meetings{1, 100, 1, 0, 99, 5}, Link{50e3, 1.2 * mbit}, true},
		"one has a screen": {Meetings{1, 4, 4, 1, 0, 0}, Link{1 * mbit, 5 * mbit}, true},
		"all silent":       {Meetings{1, 4, 0, 0, 0, 0}, Link{0, 0}, false},
	} {
		got, less := tt.m.Listener(DefaultRates())
		if math.Abs(got.Up-tt.want.Up) > 1 || math.Abs(got.Down-tt.want.Down) > 1 || less != tt.less {
			t.Errorf("%s: %+v %t", name, got, less)
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		m    Meetings
		want error
	}{
		{Meetings{1, 1, 0, 0, 0, 0}, nil},
		{Meetings{0, 3, 3, 0, 0, 0}, ErrMeetings},
		{Meetings{1, 0, 0, 0, 0, 0}, ErrMeetings},
		{Meetings{1, 3, -1, 0, 0, 0}, ErrMeetings},
		{Meetings{1, 3, 4, 0, 0, 0}, ErrTooMany},
		{Meetings{1, 3, 0, 4, 0, 0}, ErrTooMany},
		{Meetings{1, 3, 2, 0, 2, 0}, ErrMicrophone},
		{Meetings{1, 3, 2, 3, 1, 0}, nil},
	} {
		if err := tt.m.Validate(); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v, want %v", tt.m, err, tt.want)
		}
	}
}

func TestPeerToPeer(t *testing.T) {
	for n := 2; n <= 8; n++ {
		if got := PeerToPeer(n, DefaultRates()); got != float64(n-1)*mbit {
			t.Errorf("%d people: %.0f", n, got)
		}
	}
}

func TestNodes(t *testing.T) {
	small := Node{CPUs: 4, Memory: 8 << 30, Link: 1e9}
	cheap := Cost{Packet: time.Microsecond, Sending: 100 << 10, Receiving: 100 << 10, Base: 100 << 20}
	for name, tt := range map[string]struct {
		m      Meetings
		node   Node
		cost   Cost
		spread bool
		want   Need // Cores and Memory are looked at elsewhere
	}{
		// 0.95 Gbit/s are 158 meetings of 6 Mbit/s out.
		"500 meetings by link": {m: Meetings{500, 3, 3, 0, 0, 0}, node: small, cost: cheap,
			want: Need{Nodes: 4, ByCPU: 1, ByLink: 4, ByMemory: 1, Spread: 1}},
		"500 meetings by CPU": {m: Meetings{500, 3, 3, 0, 0, 0}, node: Node{4, 8 << 30, 10e9}, cost: DefaultCost(),
			want: Need{Nodes: 3, ByCPU: 3, ByLink: 1, ByMemory: 1, Spread: 1}},
		// Each stream to the node of both others, two of three times.
		"500 meetings, everybody anywhere": {m: Meetings{500, 3, 3, 0, 0, 0}, node: small, cost: cheap, spread: true,
			want: Need{Nodes: 7, ByCPU: 1, ByLink: 7, ByMemory: 1, Spread: 3, Relay: 3000 * mbit}},
		// 2,450 Mbit/s of 50 cameras: 3 nodes send 816 to people and 33 to nodes each.
		"one meeting that fits nowhere": {m: all(50), node: small, cost: cheap,
			want: Need{Nodes: 3, ByCPU: 1, ByLink: 3, ByMemory: 1, Spread: 3, Relay: 100 * mbit}},
		"25 and 25": {m: all(50), node: Node{4, 8 << 30, 1.5e9}, cost: cheap,
			want: Need{Nodes: 2, ByCPU: 1, ByLink: 2, ByMemory: 1, Spread: 2, Relay: 50 * mbit}},
		"memory": {m: Meetings{500, 3, 3, 0, 0, 0}, node: Node{4, 512 << 20, 10e9}, cost: cheap,
			want: Need{Nodes: 2, ByCPU: 1, ByLink: 1, ByMemory: 2, Spread: 1}},
		"nobody sends": {m: Meetings{1, 10, 0, 0, 0, 0}, node: small, cost: cheap,
			want: Need{Nodes: 1, ByCPU: 1, ByLink: 1, ByMemory: 1, Spread: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tt.m.Nodes(DefaultRates(), tt.node, tt.cost, tt.spread)
			if err != nil {
				t.Fatal(err)
			}
			cores, memory := got.Cores, got.Memory
			got.Cores, got.Memory = 0, 0
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			one := tt.m.Traffic(DefaultRates())
			wantCores := (one.PacketsOut + float64(got.Spread-1)*one.PacketsIn) * tt.cost.Packet.Seconds()
			wantMemory := float64(one.Sending)*tt.cost.Sending + float64(one.Receiving)*tt.cost.Receiving + float64(got.Nodes)*tt.cost.Base
			if math.Abs(cores-wantCores) > 1e-9 || memory != wantMemory {
				t.Errorf("%.3f cores, want %.3f; %.0f bytes, want %.0f", cores, wantCores, memory, wantMemory)
			}
		})
	}
}

// A node has to receive all of a meeting, however few of its people are there.
func TestTooLarge(t *testing.T) {
	weak := Node{CPUs: 4, Memory: 8 << 30, Link: 40e6}
	for _, spread := range []bool{false, true} {
		if need, err := all(50).Nodes(DefaultRates(), weak, DefaultCost(), spread); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v, %v", need, err)
		}
	}
	if _, err := all(3).Nodes(DefaultRates(), Node{CPUs: 1, Memory: 1 << 20, Link: 1e9}, DefaultCost(), false); !errors.Is(err, ErrTooLarge) {
		t.Errorf("no memory: %v", err)
	}
}

// More nodes never have less room, and what is needed is enough.
func TestNodesIsEnough(t *testing.T) {
	cost := DefaultCost()
	node := Node{CPUs: 4, Memory: 8 << 30, Link: 1e9}
	for n := 2; n <= 60; n++ {
		for _, count := range []int{1, 7, 100} {
			m := Meetings{count, n, n, 0, 0, 0}
			for _, spread := range []bool{false, true} {
				need, err := m.Nodes(DefaultRates(), node, cost, spread)
				if err != nil {
					t.Fatal(err)
				}
				total := m.Traffic(DefaultRates())
				k := float64(need.Nodes)
				if total.Out+need.Relay > k*usableLink*node.Link+1 || total.In+need.Relay > k*usableLink*node.Link+1 ||
					need.Cores > k*usableCPU*float64(node.CPUs)+1e-6 || need.Memory > k*usableMemory*node.Memory {
					t.Errorf("%d meetings of %d, spread %t: %+v is too little", count, n, spread, need)
				}
				if need.Nodes < max(need.ByCPU, need.ByLink, need.ByMemory) {
					t.Errorf("%+v", need)
				}
			}
		}
	}
}
