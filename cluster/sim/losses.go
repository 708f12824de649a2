package sim

import (
	"slices"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// some are living nodes, drawn.
func (r *run) some(n int) []int {
	var living []int
	for i := range r.world.nodes {
		if !r.world.nodes[i].dead {
			living = append(living, i)
		}
	}
	r.dice.Shuffle(len(living), func(i, j int) { living[i], living[j] = living[j], living[i] })
	lost := living[:min(n, len(living)-1)]
	slices.Sort(lost)
	return lost
}

func (r *run) region(i int) []int { return slices.Clone(r.world.living[i]) }

// backAtOnce people of lost nodes are back within backEvery.
const (
	backAtOnce = 2000
	backEvery  = 100 * time.Millisecond
)

// lose kills nodes: their rooms are placed anew and their people come back.
func (r *run) lose(name string, lost []int) error {
	w, before, rooms := r.world, r.state.Homes(), 0
	for _, i := range lost {
		n := &w.nodes[i]
		n.dead = true
		w.living[n.region] = slices.DeleteFunc(w.living[n.region], func(k int) bool { return k == i })
		rooms += len(r.state.HomesOf(n.id))
	}
	r.look()
	began := time.Now()
	for _, i := range lost {
		if err := r.placeAnew(i); err != nil {
			return err
		}
	}
	took := time.Since(began)
	if err := r.comeBack(); err != nil {
		return err
	}
	moved := 0
	for room, home := range r.state.Homes() {
		if before[room] != home {
			moved++
		}
	}
	r.phase(name, rooms, moved)
	p := &r.report.Phases[len(r.report.Phases)-1]
	p.Lost, p.TookMs = len(lost), took.Seconds()*1e3
	return nil
}

// placeAnew is what the leader does with the rooms of a silent node.
func (r *run) placeAnew(lost int) error {
	w := r.world
	hint := cluster.Hint{Region: regions()[w.nodes[lost].region].name}
	for batch := range slices.Chunk(r.state.HomesOf(w.nodes[lost].id), store.MaxAssignments) {
		homes := make([]store.Assignment, 0, len(batch))
		for _, id := range batch {
			home, _ := r.state.Home(id)
			var near []store.NodeID
			for _, e := range w.rooms[w.index[id]].edges {
				if !w.nodes[e.node].dead {
					near = append(near, w.nodes[e.node].id)
				}
			}
			began := time.Now()
			to, err := r.placer.PlaceAnew(r.clock(), id, hint, near)
			r.decisions = append(r.decisions, time.Since(began))
			if err != nil {
				return err
			}
			homes = append(homes, store.Assignment{Room: id, Node: to, PrevEpoch: home.Epoch, Reason: store.ReasonAnew})
		}
		if err := r.assign(homes); err != nil {
			return err
		}
		if err := r.until(r.now + entry); err != nil {
			return err
		}
	}
	return nil
}

// comeBack lets the people of dead nodes join again, in any order.
func (r *run) comeBack() error {
	w := r.world
	var back []int
	for i := range w.rooms {
		room := &w.rooms[i]
		gone := len(back)
		for _, e := range room.edges {
			if w.nodes[e.node].dead {
				back = append(back, slices.Repeat([]int{i}, int(e.people))...)
			}
		}
		if gone < len(back) {
			w.count(room, -1)
			room.edges = slices.DeleteFunc(room.edges, func(e edge) bool { return w.nodes[e.node].dead })
			w.count(room, 1)
		}
	}
	r.dice.Shuffle(len(back), func(i, j int) { back[i], back[j] = back[j], back[i] })
	for k, i := range back {
		w.join(r.dice, i)
		if k%backAtOnce == 0 {
			if err := r.until(r.now + backEvery); err != nil {
				return err
			}
		}
	}
	for i := range w.nodes {
		if n := &w.nodes[i]; n.dead {
			n.streams = 0
		}
	}
	return r.until(r.now + hears)
}
