package cluster

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/talkd/talkd/store"
)

// leafNode is a node with rooms whose load is not measured yet.
type leafNode struct {
	Member
	Fresh int
}

// leafNodes are n nodes that are alike.
func leafNodes(n int) []leafNode {
	nodes := make([]leafNode, n)
	for i := range nodes {
		nodes[i].ID, nodes[i].State = store.NodeID(fmt.Sprintf("n%d", i+1)), StateAlive
	}
	return nodes
}

// leafPlacer knows these nodes and nothing else.
func leafPlacer(nodes []leafNode) *Placer {
	members := make([]Member, len(nodes))
	for i, n := range nodes {
		members[i] = n.Member
	}
	p := NewPlacer()
	p.Refresh(leafNow, members)
	for _, n := range nodes {
		for range n.Fresh {
			p.count(n.ID)
		}
	}
	return p
}

func leafRoom(i int) store.RoomID { return store.RoomID{Name: fmt.Sprintf("room%d", i)} }

// leafPlace places a room that must find a node.
func leafPlace(t testing.TB, nodes []leafNode, room store.RoomID, hint Hint) store.NodeID {
	t.Helper()
	id, err := leafPlacer(nodes).Place(leafNow, room, hint)
	if err != nil {
		t.Fatalf("%v: %v", room, err)
	}
	return id
}

// Each case changes three nodes that are alike, and says where a room may go.
func TestPlace(t *testing.T) {
	all := func(c leafNode) bool { return true }
	only := func(ids ...store.NodeID) func(leafNode) bool {
		return func(c leafNode) bool {
			for _, id := range ids {
				if c.ID == id {
					return true
				}
			}
			return false
		}
	}
	set := func(f func(c *leafNode), at ...int) func([]leafNode) {
		return func(nodes []leafNode) {
			for _, i := range at {
				f(&nodes[i])
			}
		}
	}
	tests := []struct {
		name   string
		change func([]leafNode)
		hint   Hint
		want   func(leafNode) bool // nil: none can take it
		err    error
	}{
		{"alike", nil, Hint{}, all, nil},
		{"dead", set(func(c *leafNode) { c.State = StateDead }, 0), Hint{}, only("n2", "n3"), nil},
		{"suspect", set(func(c *leafNode) { c.State = StateSuspect }, 0, 1), Hint{}, only("n3"), nil},
		{"draining", set(func(c *leafNode) { c.State = StateDraining }, 0, 2), Hint{}, only("n2"), nil},
		{"without a state", set(func(c *leafNode) { c.State = "" }, 0, 1), Hint{}, only("n3"), nil},
		{"nobody alive", set(func(c *leafNode) { c.State = StateDead }, 0, 1, 2), Hint{Node: "n1"}, nil, ErrNoNode},
		{"no media", set(func(c *leafNode) { c.Roles = []string{store.RoleServer, store.RoleSignaling} }, 0, 1), Hint{}, only("n3"), nil},
		{"no signaling", set(func(c *leafNode) { c.Roles = []string{store.RoleMedia} }, 0), Hint{}, only("n2", "n3"), nil},
		{"both roles", set(func(c *leafNode) { c.Roles = []string{store.RoleMedia, store.RoleSignaling} }, 0, 1, 2), Hint{}, all, nil},
		{"exhausted", set(func(c *leafNode) { c.Load.Exhausted = true }, 0, 1), Hint{}, only("n3"), nil},
		{"sessions full", set(func(c *leafNode) { c.Load.MaxSessions, c.Load.Sessions = 10, 10 }, 0, 1), Hint{}, only("n3"), nil},
		{"sessions almost full", set(func(c *leafNode) { c.Load.MaxSessions, c.Load.Sessions = 10, 9 }, 0, 1, 2), Hint{}, all, nil},
		{"uplink full", set(func(c *leafNode) { c.Load.MaxEgressBps, c.Load.EgressBps = 1e6, 1e6 }, 1, 2), Hint{}, only("n1"), nil},
		{"all full", set(func(c *leafNode) { c.Load.MaxSessions, c.Load.Sessions = 1, 1 }, 0, 1, 2), Hint{}, nil, ErrFull},
		{"busy", set(func(c *leafNode) { c.Load.CPU = 0.5 }, 0, 1), Hint{}, only("n3"), nil},
		{"uplink busy", set(func(c *leafNode) { c.Load.EgressBps = 5e8 }, 0), Hint{}, only("n2", "n3"), nil},
		{"half of a narrow uplink", set(func(c *leafNode) { c.Load.EgressBps, c.Load.MaxEgressBps = 5e6, 1e7 }, 1), Hint{}, only("n1", "n3"), nil},
		{"many sessions", set(func(c *leafNode) { c.Load.Sessions = 1000 }, 2), Hint{}, only("n1", "n2"), nil},
		{"many sessions, far from a high limit", func(n []leafNode) {
			for i := range n {
				n[i].Load.MaxSessions = 50_000
			}
			n[2].Load.Sessions = 500
		}, Hint{}, only("n1", "n2"), nil},
		{"many rooms", set(func(c *leafNode) { c.Rooms = 10 }, 1, 2), Hint{}, only("n1"), nil},
		{"rooms that are not measured yet", set(func(c *leafNode) { c.Fresh = 1 }, 1, 2), Hint{}, only("n1"), nil},
		{"load weighs more than rooms", func(n []leafNode) { n[0].Load.CPU, n[1].Rooms, n[2].Rooms = 0.8, 30, 30 }, Hint{}, only("n2", "n3"), nil},
		{"noise", func(n []leafNode) { n[0].Load.CPU, n[1].Load.CPU, n[2].Load.CPU = 0.2500, 0.2501, 0.2502 }, Hint{}, all, nil},

		{"hint of a node", nil, Hint{Node: "n2"}, only("n2"), nil},
		{"hint of a node that is a bit busier", set(func(c *leafNode) { c.Load.CPU = 0.02 }, 1), Hint{Node: "n2"}, only("n2"), nil},
		{"hint of a node that is much busier", set(func(c *leafNode) { c.Load.CPU = 0.1 }, 1), Hint{Node: "n2"}, only("n1", "n3"), nil},
		{"hint of a node that is dead", set(func(c *leafNode) { c.State = StateDead }, 1), Hint{Node: "n2"}, only("n1", "n3"), nil},
		{"hint of an unknown node", nil, Hint{Node: "n9"}, all, nil},
		{"hint of a region", set(func(c *leafNode) { c.Region = "eu" }, 0, 2), Hint{Region: "eu"}, only("n1", "n3"), nil},
		{"hint of a region that is a bit busy", set(func(c *leafNode) { c.Region, c.Load.CPU = "eu", 0.2 }, 0), Hint{Region: "eu"}, only("n1"), nil},
		{"hint of a region that is busy", set(func(c *leafNode) { c.Region, c.Load.CPU = "eu", 0.3 }, 0), Hint{Region: "eu"}, only("n2", "n3"), nil},
		{"hint of an unknown region", set(func(c *leafNode) { c.Region = "eu" }, 0), Hint{Region: "us"}, all, nil},
		{"no hint of a region", set(func(c *leafNode) { c.Region = "eu" }, 0), Hint{}, all, nil},
		{"a node of the region", set(func(c *leafNode) { c.Region = "eu" }, 1, 2), Hint{Node: "n3", Region: "eu"}, only("n3"), nil},

		{"overloaded", func(n []leafNode) {
			n[0].Load.CPU = 0.95
			n[1].Load.CPU, n[1].Rooms, n[1].Fresh = 0.85, 20, 50
			n[2].State = StateDead
		}, Hint{Node: "n1"}, only("n2"), nil},
		{"all overloaded", set(func(c *leafNode) { c.Load.CPU = 0.95 }, 0, 1, 2), Hint{}, all, nil},

		{"CPU is no number", set(func(c *leafNode) { c.Load.CPU = math.NaN() }, 0), Hint{}, all, nil},
		{"CPU is infinite", set(func(c *leafNode) { c.Load.CPU = math.Inf(1) }, 0), Hint{}, all, nil},
		{"CPU is below zero", set(func(c *leafNode) { c.Load.CPU = -1e300 }, 0), Hint{}, all, nil},
		{"CPU is beyond all", set(func(c *leafNode) { c.Load.CPU = 1e300 }, 0), Hint{}, only("n2", "n3"), nil},
		{"egress is no number", set(func(c *leafNode) { c.Load.EgressBps = math.NaN() }, 0), Hint{}, all, nil},
		{"egress is below zero", set(func(c *leafNode) { c.Load.EgressBps = math.Inf(-1) }, 0), Hint{}, all, nil},
		{"the limit is no number", set(func(c *leafNode) { c.Load.MaxEgressBps = math.NaN() }, 0), Hint{}, all, nil},
		{"the limit is infinite", set(func(c *leafNode) { c.Load.MaxEgressBps = math.Inf(1) }, 0), Hint{}, all, nil},
		{"egress is no number, with a limit", set(func(c *leafNode) { c.Load.EgressBps, c.Load.MaxEgressBps = math.NaN(), 1e6 }, 0), Hint{}, all, nil},
		{"sessions are below zero", set(func(c *leafNode) { c.Load.Sessions, c.Load.MaxSessions = -5, -5 }, 0), Hint{}, all, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes := leafNodes(3)
			if tt.change != nil {
				tt.change(nodes)
			}
			byID := map[store.NodeID]leafNode{}
			for _, c := range nodes {
				byID[c.ID] = c
			}
			used := map[store.NodeID]bool{}
			for i := range 100 {
				id, err := leafPlacer(nodes).Place(leafNow, leafRoom(i), tt.hint)
				if tt.want == nil {
					if !errors.Is(err, tt.err) || id != "" {
						t.Fatalf("%q, %v, want %v", id, err, tt.err)
					}
					continue
				}
				if err != nil || !tt.want(byID[id]) {
					t.Fatalf("room %d goes to %q, %v", i, id, err)
				}
				used[id] = true
			}
			for id, c := range byID {
				if tt.want != nil && tt.want(c) && !used[id] {
					t.Errorf("of 100 rooms none goes to %s", id)
				}
			}
		})
	}
	if _, err := NewPlacer().Place(leafNow, leafRoom(1), Hint{}); !errors.Is(err, ErrNoNode) {
		t.Errorf("without nodes: %v", err)
	}
}

// leafAnyNodes draws nodes of all kinds, broken measurements included.
func leafAnyNodes(r *rand.Rand) []leafNode {
	nodes := leafNodes(1 + r.IntN(12))
	odd := func(f float64) float64 {
		switch r.IntN(12) {
		case 0:
			return math.NaN()
		case 1:
			return math.Inf(1 - 2*r.IntN(2))
		case 2:
			return -f
		case 3:
			return f * 1e6
		}
		return f
	}
	states := []MemberState{StateAlive, StateAlive, StateAlive, StateSuspect, StateDead, StateDraining}
	for i := range nodes {
		c := &nodes[i]
		c.State = states[r.IntN(len(states))]
		c.Region = []string{"", "eu", "us"}[r.IntN(3)]
		c.Roles = [][]string{nil, nil, {store.RoleSignaling, store.RoleMedia}, {store.RoleMedia}, {store.RoleSignaling}}[r.IntN(5)]
		c.Rooms, c.Fresh = r.IntN(50), r.IntN(5)
		c.Load = Load{
			CPU: odd(r.Float64()), EgressBps: odd(r.Float64() * 1e9), Sessions: r.IntN(2000),
			MaxEgressBps: odd(float64(r.IntN(2)) * 2e9), MaxSessions: r.IntN(2) * 2500,
		}
	}
	return nodes
}

// Whatever the members are: their order decides nothing, and only a fit node
// is chosen.
func TestPlaceOfAnyNodes(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		nodes := leafAnyNodes(r)
		hint := Hint{Node: []store.NodeID{"", "n1", "n2"}[r.IntN(3)], Region: []string{"", "eu"}[r.IntN(2)]}
		room := leafRoom(r.IntN(1000))
		first, err := leafPlacer(nodes).Place(leafNow, room, hint)
		if (err != nil) != (first == "") {
			t.Fatalf("seed %d: %q, %v", seed, first, err)
		}
		fit := 0
		for _, c := range nodes {
			if c.TakesRooms() {
				fit++
			} else if c.ID == first {
				t.Fatalf("seed %d: %+v is chosen", seed, c)
			}
			if s := score(c.Load.Busy(), roomWeight(50), clamp(c.Rooms), clamp(c.Fresh)); math.IsNaN(s) || math.IsInf(s, 0) || s < 0 {
				t.Fatalf("seed %d: %+v scores %v", seed, c, s)
			}
		}
		if (fit == 0) != (errors.Is(err, ErrNoNode) || errors.Is(err, ErrFull)) {
			t.Fatalf("seed %d: %d fit nodes, %v", seed, fit, err)
		}
		for range 5 {
			r.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
			if id, _ := leafPlacer(nodes).Place(leafNow, room, hint); id != first {
				t.Fatalf("seed %d: %s or %s, by order", seed, first, id)
			}
		}
	}
}

// A node that is lost among equals moves its own rooms and no other, and they
// spread over all who are left.
func TestPlaceMovesLittle(t *testing.T) {
	for n := 2; n <= 9; n++ {
		nodes := leafNodes(n)
		const rooms = 3000
		before := make([]store.NodeID, rooms)
		count := map[store.NodeID]int{}
		for i := range before {
			before[i] = leafPlace(t, nodes, leafRoom(i), Hint{})
			count[before[i]]++
		}
		// Five times the standard deviation of a fair lottery.
		fair := float64(rooms) / float64(n)
		for _, c := range nodes {
			if d := math.Abs(float64(count[c.ID]) - fair); d > 5*math.Sqrt(fair) {
				t.Errorf("%d nodes: %s has %d of %d rooms", n, c.ID, count[c.ID], rooms)
			}
		}
		lost := nodes[n/2].ID
		nodes[n/2].State = StateDead
		inherited := map[store.NodeID]int{}
		for i, was := range before {
			now := leafPlace(t, nodes, leafRoom(i), Hint{})
			if was != lost && now != was {
				t.Fatalf("%d nodes: losing %s moves %v from %s to %s", n, lost, leafRoom(i), was, now)
			}
			if was == lost {
				inherited[now]++
			}
		}
		if len(inherited) != n-1 {
			t.Errorf("%d nodes: the rooms of %s go to %d nodes only", n, lost, len(inherited))
		}
	}
}

// A busy minute: until the next round of gossip the leader knows of new rooms
// only that it placed them. They must not go to one node.
func TestPlaceSpreadsOneRound(t *testing.T) {
	tests := []struct {
		name       string
		cpu        []float64
		hint       Hint
		rooms      int
		least      []int // of each node
		imbalanced int   // between the fullest and the emptiest, if 0 ignored
	}{
		{"alike", []float64{0.3, 0.3, 0.3}, Hint{}, 300, []int{95, 95, 95}, 3},
		{"one is idle", []float64{0.3, 0.3, 0}, Hint{}, 300, []int{70, 70, 100}, 0},
		{"a handful goes to the idle one", []float64{0.3, 0.3, 0}, Hint{}, 10, []int{0, 0, 10}, 0},
		{"all from one edge", []float64{0.3, 0.3, 0.3}, Hint{Node: "n1"}, 300, []int{98, 90, 90}, 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			nodes := leafNodes(len(tt.cpu))
			for i := range nodes {
				nodes[i].Load.CPU = tt.cpu[i]
			}
			for i := range tt.rooms {
				id := leafPlace(t, nodes, leafRoom(i), tt.hint)
				for j := range nodes {
					if nodes[j].ID == id {
						nodes[j].Rooms++
						nodes[j].Fresh++
					}
				}
			}
			lo, hi := tt.rooms, 0
			for i, c := range nodes {
				if c.Rooms < tt.least[i] {
					t.Errorf("%s has %d rooms, want at least %d", c.ID, c.Rooms, tt.least[i])
				}
				lo, hi = min(lo, c.Rooms), max(hi, c.Rooms)
			}
			if tt.imbalanced > 0 && hi-lo > tt.imbalanced {
				t.Errorf("between %d and %d rooms", lo, hi)
			}
		})
	}
}

// More load never attracts rooms.
func TestPlaceIsMonotonous(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 2))
		nodes := leafNodes(2 + r.IntN(5))
		for i := range nodes {
			nodes[i].Load = Load{CPU: r.Float64(), EgressBps: r.Float64() * 1e9, Sessions: r.IntN(2000)}
			nodes[i].Rooms, nodes[i].Fresh = r.IntN(20), r.IntN(5)
		}
		room := leafRoom(r.IntN(100))
		chosen := leafPlace(t, nodes, room, Hint{})
		i := r.IntN(len(nodes))
		if nodes[i].ID == chosen {
			continue
		}
		nodes[i].Load.CPU += r.Float64() / 2
		nodes[i].Load.Sessions += r.IntN(500)
		nodes[i].Fresh += r.IntN(3)
		if now := leafPlace(t, nodes, room, Hint{}); now != chosen {
			t.Fatalf("seed %d: %s got more load and the room moves from %s to %s", seed, nodes[i].ID, chosen, now)
		}
	}
}

// The hash tells names apart that are equal when written one after the other.
func TestHashKeepsNamesApart(t *testing.T) {
	a := hashRoom(store.RoomID{Backend: "ab", Name: "c"})
	for _, b := range []uint64{
		hashRoom(store.RoomID{Backend: "a", Name: "bc"}),
		hashRoom(store.RoomID{Name: "abc"}),
		hashRoom(store.RoomID{Backend: "abc"}),
	} {
		if a == b {
			t.Error("two rooms of one hash")
		}
	}
}

// One decision among many nodes, prepared as the leader has them: busy in
// different degrees, and all alike, when each has to be hashed.
func BenchmarkPlacer(b *testing.B) {
	for _, n := range []int{3, 100, 1000} {
		for _, alike := range []bool{false, true} {
			b.Run(fmt.Sprintf("nodes=%d/alike=%t", n, alike), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				nodes := leafNodes(n)
				for i := range nodes {
					nodes[i].Region = []string{"eu", "us", "ap"}[i%3]
					nodes[i].Rooms = 300
					if !alike {
						nodes[i].Load = Load{CPU: r.Float64(), EgressBps: r.Float64() * 1e9}
					}
				}
				p, room := leafPlacer(nodes), leafRoom(1)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Place(leafNow, room, Hint{Node: "n2", Region: "eu"}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A new look at all nodes, which the leader takes at most every viewFresh.
func BenchmarkPlacerRefresh(b *testing.B) {
	nodes := make([]Member, 0, 1000)
	for _, n := range leafNodes(cap(nodes)) {
		nodes = append(nodes, n.Member)
	}
	p := NewPlacer()
	b.ReportAllocs()
	for b.Loop() {
		p.Refresh(leafNow, nodes)
	}
}
