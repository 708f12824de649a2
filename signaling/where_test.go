package signaling

import (
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

type others struct {
	alone
	nodes []Node
}

func (o others) Nodes() []Node { return o.nodes }

// TestOverloaded: whoever can go elsewhere is sent away from an overloaded node,
// which is the home or perhaps to be it, and to one that takes people.
func TestOverloaded(t *testing.T) {
	const url = "https://n.example"
	room := store.RoomID{Name: "room"}
	self, full, fit := Node{ID: "self", URL: url, Alive: true, Full: true}, Node{ID: "n2", URL: url, Alive: true, Full: true}, Node{ID: "n3", URL: url, Alive: true}
	for name, c := range map[string]struct {
		overloaded bool
		nodes      []Node
		want       store.NodeID
	}{
		"full":                  {false, []Node{full, fit}, ""},
		"overloaded":            {true, []Node{full, fit}, "n3"},
		"overloaded as all are": {true, []Node{full}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := lonely(t)
			self.ID, self.Overloaded = h.deps.Self, c.overloaded
			h.deps.Nodes = others{nodes: append([]Node{self}, c.nodes...)}
			if to, _ := h.Elsewhere(room); to.ID != c.want {
				t.Errorf("sent to %q", to.ID)
			}
		})
	}
}

// TestCrowdedHome: a room is spread over its nodes while its home is crowded, as
// long as there is one that is not, and else stays together.
func TestCrowdedHome(t *testing.T) {
	const url = "https://n.example"
	room := store.RoomID{Name: "room"}
	for name, c := range map[string]struct {
		home, self, other Node
		edges             []store.NodeID
		want              store.NodeID
	}{
		"nobody is crowded":                  {Node{}, Node{}, Node{}, []store.NodeID{"home"}, "home"},
		"only here":                          {Node{}, Node{Crowded: true}, Node{}, []store.NodeID{"home"}, "home"},
		"only the home":                      {Node{Crowded: true}, Node{}, Node{}, []store.NodeID{"home"}, ""},
		"the home, others are elsewhere":     {Node{Crowded: true}, Node{}, Node{}, []store.NodeID{"home", "other"}, "other"},
		"the home, others are here":          {Node{Crowded: true}, Node{}, Node{}, []store.NodeID{"home", "other", "n1"}, ""},
		"the home and here":                  {Node{Crowded: true}, Node{Crowded: true}, Node{}, []store.NodeID{"home"}, "home"},
		"the home and here, others are here": {Node{Crowded: true}, Node{Crowded: true}, Node{}, []store.NodeID{"home", "n1"}, "home"},
		"the home and here, not another":     {Node{Crowded: true}, Node{Crowded: true}, Node{}, []store.NodeID{"home", "other", "n1"}, "other"},
		"all":                                {Node{Crowded: true}, Node{Crowded: true}, Node{Crowded: true}, []store.NodeID{"home", "other"}, "home"},
		"all, the home is full":              {Node{Full: true}, Node{Crowded: true}, Node{Crowded: true}, []store.NodeID{"home", "other"}, ""},
		"all, the home drains":               {Node{Crowded: true, Draining: true}, Node{Crowded: true}, Node{Crowded: true}, []store.NodeID{"home", "other"}, ""},
		"here is full":                       {Node{Crowded: true}, Node{Full: true}, Node{Crowded: true}, []store.NodeID{"home", "other"}, "home"},
	} {
		t.Run(name, func(t *testing.T) {
			h := lonely(t)
			h.deps.Places = placed{h.deps.Places, "home"}
			for id, n := range map[store.NodeID]*Node{"home": &c.home, h.deps.Self: &c.self, "other": &c.other} {
				n.ID, n.URL, n.Alive = id, url, true
			}
			h.deps.Nodes = others{nodes: []Node{c.home, c.self, c.other}}
			h.deps.EdgesOf = func(store.RoomID) []store.NodeID { return c.edges }
			if to, _ := h.Elsewhere(room); to.ID != c.want {
				t.Errorf("sent to %q, want %q", to.ID, c.want)
			}
		})
	}
}

// placed are places where each room has its home at one node.
type placed struct {
	Places
	home store.NodeID
}

func (p placed) Lookup(store.RoomID) (store.Home, bool) {
	return store.Home{Node: p.home, Epoch: 1}, true
}

// TestRefuges: full nodes count only for people who are cut off otherwise, and a
// node that stops goes on hoping while another one may take them yet.
func TestRefuges(t *testing.T) {
	const url = "https://n.example"
	var (
		self     = Node{ID: "n1", URL: url, Alive: true, Draining: true}
		fit      = Node{ID: "n2", URL: url, Alive: true}
		full     = Node{ID: "n3", URL: url, Alive: true, Full: true}
		crowded  = Node{ID: "n8", URL: url, Alive: true, Crowded: true}
		draining = Node{ID: "n4", URL: url, Alive: true, Draining: true}
		dead     = Node{ID: "n5", URL: url}
		suspect  = Node{ID: "n6", URL: url, Suspect: true}
		nowhere  = Node{ID: "n7", Alive: true}
	)
	for name, c := range map[string]struct {
		nodes    []Node
		waiting  store.NodeID
		stopping store.NodeID
		hope     bool
	}{
		"one that is fit":   {[]Node{self, full, fit, suspect}, "n2", "n2", true},
		"one that is quiet": {[]Node{self, full, crowded, fit}, "n2", "n2", true},
		"none that is":      {[]Node{self, full, crowded}, "n8", "n8", true},
		"all full":          {[]Node{self, full, draining}, "", "n3", true},
		"none answers":      {[]Node{self, suspect, dead}, "", "", true},
		"nobody":            {[]Node{self}, "", "", false},
		"none takes people": {[]Node{self, draining, dead, nowhere}, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := lonely(t)
			h.deps.Nodes = others{nodes: c.nodes}
			check := func(want store.NodeID) {
				t.Helper()
				var got store.NodeID
				nodes, hope := h.refuges()
				for _, n := range nodes {
					got += n.ID
				}
				if got != want || hope != c.hope {
					t.Errorf("to %q, hope %v", got, hope)
				}
			}
			h.moves.drain(true)
			check(c.waiting)
			h.moves.stop(time.Time{})
			check(c.stopping)
		})
	}
}

// TestRefugeIsTheHome: who is to follow a home that has moved does, also if that is
// busier than other nodes.
func TestRefugeIsTheHome(t *testing.T) {
	const url = "https://n.example"
	for name, c := range map[string]struct {
		home Node
		want store.NodeID
	}{
		"quiet":   {Node{Alive: true}, "home"},
		"crowded": {Node{Alive: true, Crowded: true}, "home"},
		"full":    {Node{Alive: true, Full: true}, ""},
		"dead":    {Node{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := lonely(t)
			h.deps.Places = placed{h.deps.Places, "home"}
			c.home.ID, c.home.URL = "home", url
			h.deps.Nodes = others{nodes: []Node{c.home, {ID: "other", URL: url, Alive: true}}}
			if n, _ := h.refuge(&replica{id: store.RoomID{Name: "room"}}, wire.MoveRoom); n.ID != c.want {
				t.Errorf("sent to %q, want %q", n.ID, c.want)
			}
		})
	}
}
