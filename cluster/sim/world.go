package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// world is who is where, and what that costs.
type world struct {
	nodes    []node
	at       map[store.NodeID]int
	index    map[store.RoomID]int32
	living   [][]int // nodes of each region
	rooms    []room
	capacity float64 // streams that a node can forward
	refused  int     // people for whom the cluster had no room
}

type node struct {
	id      store.NodeID
	region  int
	dead    bool
	streams float64 // forwarded now
	said    float64 // when it last spoke
	crowded bool    // as it told the others, and so is full
	full    bool
}

// room is one room. There are hundreds of thousands.
type room struct {
	home   int32 // -1: none
	size   int32 // people who will come
	early  int32 // who came before the home was decided
	region int8
	asked  bool
	edges  []edge
}

// edge is how many people of a room a node serves.
type edge struct {
	node   int32
	people int32
}

// area is a region with its share of nodes and people.
type area struct {
	name  string
	share float64
}

func regions() []area { return []area{{"eu", 0.40}, {"us", 0.35}, {"ap", 0.25}} }

// seen is how many others somebody gets voice and camera of at most: what fits
// a screen, and who speaks.
const seen = 8

// streamsEach is what is forwarded to one person of a room of n.
func streamsEach(n int32) float64 { return 2 * float64(min(max(n-1, 0), seen)) }

// arrival is somebody who comes to a room.
type arrival struct {
	ms   uint32
	room int32
}

func (a arrival) at() time.Duration { return time.Duration(a.ms) * time.Millisecond }

// sizes of rooms: many talk to one or two others, few in front of a thousand.
func sizes() []struct {
	share    float64
	from, to int32
} {
	return []struct {
		share    float64
		from, to int32
	}{{0.595, 2, 2}, {0.21, 3, 3}, {0.14, 4, 8}, {0.05, 9, 16}, {0.004934, 17, 30}, {0.000066, 800, 1000}}
}

// prepare makes nodes, rooms and the order in which people come.
func (r *run) prepare() []arrival {
	w := &world{at: map[store.NodeID]int{}, index: make(map[store.RoomID]int32, r.cfg.Rooms), living: make([][]int, len(regions())), rooms: make([]room, r.cfg.Rooms)}
	r.world = w
	place := func(share float64) int { // the region of somebody or something
		for i, a := range regions() {
			if share -= a.share; share < 0 {
				return i
			}
		}
		return len(regions()) - 1
	}
	for i := range r.cfg.Nodes {
		n := node{id: store.NodeID(fmt.Sprintf("node-%04d", i)), region: place((float64(i) + 0.5) / float64(r.cfg.Nodes))}
		w.at[n.id] = i
		w.living[n.region] = append(w.living[n.region], i)
		w.nodes = append(w.nodes, n)
	}
	people := 0
	for i := range w.rooms {
		share, size := r.dice.Float64(), int32(2)
		for _, s := range sizes() {
			if share -= s.share; share < 0 {
				size = s.from + r.dice.Int32N(s.to-s.from+1)
				break
			}
		}
		w.rooms[i] = room{home: -1, size: size, region: int8(place(r.dice.Float64()))}
		people += int(size)
		w.index[w.id(i)] = int32(i)
	}
	// The dice are right on average; a few rooms make it exact.
	for people != r.cfg.People {
		room := &w.rooms[r.dice.IntN(len(w.rooms))]
		switch {
		case people > r.cfg.People && room.size > 2:
			room.size--
			people--
		case people < r.cfg.People && room.size < seen:
			room.size++
			people++
		}
	}
	total, arrivals := 0.0, make([]arrival, 0, people)
	for i := range w.rooms {
		room := &w.rooms[i]
		total += float64(room.size) * streamsEach(room.size)
		begins := r.dice.Int64N(arriving.Milliseconds())
		// The others come in the next minute; a crowd takes five.
		within := time.Minute.Milliseconds()
		if room.size > 100 {
			within *= 5
		}
		for k := range room.size {
			at := begins
			if k > 0 {
				at += r.dice.Int64N(within)
			}
			arrivals = append(arrivals, arrival{uint32(at), int32(i)})
		}
	}
	w.capacity = total / float64(r.cfg.Nodes) / meanBusy
	sort.SliceStable(arrivals, func(a, b int) bool { return arrivals[a].ms < arrivals[b].ms })
	r.report.Sizes = w.histogram()
	r.report.NodeStreams = int(w.capacity)
	return arrivals
}

func (w *world) id(i int) store.RoomID {
	return store.RoomID{Backend: store.BackendID(fmt.Sprintf("cloud%d", i%20)), Name: fmt.Sprintf("k%08x", uint32(i)*2654435761)}
}

// land is the node where somebody of a room connects first: any, most often of
// the room's region.
func (w *world) land(dice *rand.Rand, r *room) int {
	region := int(r.region)
	if dice.IntN(10) == 0 {
		region = dice.IntN(len(w.living))
	}
	for len(w.living[region]) == 0 {
		region = (region + 1) % len(w.living)
	}
	return w.living[region][dice.IntN(len(w.living[region]))]
}

// join lets one more person into a room that has a home.
func (w *world) join(dice *rand.Rand, i int) {
	r := &w.rooms[i]
	at := w.elsewhere(r, int32(w.land(dice, r)))
	if w.nodes[at].streams >= full*w.capacity {
		w.refused++
		return
	}
	w.count(r, -1)
	if k := slices.IndexFunc(r.edges, func(e edge) bool { return e.node == at }); k >= 0 {
		r.edges[k].people++
	} else {
		r.edges = append(r.edges, edge{at, 1})
	}
	w.count(r, 1)
}

// elsewhere is where somebody is served who has landed at a node: the rule of
// signaling.Hub.Elsewhere.
func (w *world) elsewhere(r *room, at int32) int32 {
	if w.fit(r.home) {
		return r.home
	}
	here := slices.ContainsFunc(r.edges, func(e edge) bool { return e.node == at })
	if here && w.fit(at) {
		return at
	}
	for _, e := range r.edges {
		if w.fit(e.node) {
			return e.node
		}
	}
	if home := &w.nodes[r.home]; !w.fit(at) && !home.dead && !home.full {
		return r.home
	}
	return at
}

// fit says that people are sent to a node, as the others know it.
func (w *world) fit(i int32) bool { n := &w.nodes[i]; return !n.dead && !n.crowded && !n.full }

// count adds what a room costs its nodes, or takes it away: what their people
// receive, and what each node sends to the others of the room. In a large room
// all see the same few, and a track crosses a pair of nodes once.
func (w *world) count(r *room, sign float64) {
	n := int32(0)
	for _, e := range r.edges {
		n += e.people
	}
	each, others := streamsEach(n), float64(len(r.edges)-1)
	for _, e := range r.edges {
		relayed := others * 2 * float64(e.people) * min(1, float64(seen)/float64(n))
		w.nodes[e.node].streams += sign * (float64(e.people)*each + relayed)
	}
}

// speak is what each node says of itself now; the leader knows it by its next
// look.
func (w *world) speak() {
	for i := range w.nodes {
		w.nodes[i].said = w.nodes[i].streams
	}
}

// load is what a node said of itself.
func (w *world) load(n *node) cluster.Load {
	busy := n.said / w.capacity
	return cluster.Load{CPU: min(busy, 1), Headroom: int(max(0, full*w.capacity-n.said)), Exhausted: busy >= full}
}

// tellCrowded is what all know of all a moment later.
func (w *world) tellCrowded() {
	sum, n := 0.0, 0
	for i := range w.nodes {
		if !w.nodes[i].dead {
			sum, n = sum+w.nodes[i].streams/w.capacity, n+1
		}
	}
	mean := sum / float64(max(n, 1))
	for i := range w.nodes {
		l := cluster.Load{CPU: w.nodes[i].streams / w.capacity}
		w.nodes[i].crowded, w.nodes[i].full = l.CrowdedAmong(mean), l.CPU >= full
	}
}

// candidates are the nodes as the leader knows them.
func (w *world) candidates(into []cluster.Member, rooms map[store.NodeID]int) []cluster.Member {
	into = into[:0]
	for i := range w.nodes {
		n := &w.nodes[i]
		state := cluster.StateAlive
		if n.dead {
			state = cluster.StateDead
		}
		into = append(into, cluster.Member{Node: store.Node{ID: n.id, Region: regions()[n.region].name}, State: state, Load: w.load(n), Rooms: rooms[n.id]})
	}
	return into
}

// imbalance is the busiest node against the mean, of some nodes or (nil) of all
// that live.
func (w *world) imbalance(among []int) (overMean, mean float64) {
	if among == nil {
		among = slices.Concat(w.living...)
		slices.Sort(among)
	}
	most, sum, n := 0.0, 0.0, 0
	for _, i := range among {
		most, sum, n = max(most, w.nodes[i].streams), sum+w.nodes[i].streams, n+1
	}
	if sum == 0 {
		return 0, 0
	}
	mean = sum / float64(n)
	return most / mean, mean / w.capacity
}

// histogram is how many rooms have how many people.
func (w *world) histogram() map[string]int {
	h := map[string]int{}
	for i := range w.rooms {
		switch n := w.rooms[i].size; {
		case n <= 3:
			h[fmt.Sprint(n)]++
		case n <= 8:
			h["4-8"]++
		case n <= 30:
			h["9-30"]++
		default:
			h["800-1000"]++
		}
	}
	return h
}
