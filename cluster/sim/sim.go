// Package sim runs an hour of a large cluster in half a minute: the placement
// code and the replicated state are the real ones, nodes and people are numbers.
//
//	people ──► world: who is served where, load of each node
//	                           │ loads, as late as the leader hears them
//	                           ▼
//	               cluster.Placer ──► assign_homes ──► store.State
//	                           ▲                          │
//	                           └── losses: rooms placed anew, people who come back
//
// Everything but the times that it measures depends on the seed only. The
// package starts no goroutine.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/store"
)

// Config is what is simulated.
type Config struct {
	Nodes, Rooms, People int
	Seed                 uint64
	Dir                  string // an empty directory for the state
}

// ErrConfig is told of numbers that make no cluster.
var ErrConfig = errors.New("nothing to simulate")

// Limits of what fits a machine.
const (
	maxNodes  = 4096
	maxPeople = 10_000_000
)

func (c Config) validate() error {
	switch {
	case c.Nodes < 10 || c.Nodes > maxNodes:
		return fmt.Errorf("%w: %d nodes, need 10 to %d", ErrConfig, c.Nodes, maxNodes)
	case c.Rooms < 1 || c.People < 2*c.Rooms || c.People > maxPeople:
		return fmt.Errorf("%w: %d rooms and %d people, need at least two in each room and at most %d people", ErrConfig, c.Rooms, c.People, maxPeople)
	}
	return nil
}

const (
	// arriving is how long it takes until all rooms have begun.
	arriving = time.Hour
	// speaks is how often a node tells the leader its load, and the leader looks;
	// hears is how late others know that a node is crowded.
	speaks = 400 * time.Millisecond
	hears  = 2 * time.Second
	// entry is how long one entry of the log is under way: what is asked for
	// meanwhile goes together in the next.
	entry = 20 * time.Millisecond
	// meanBusy is how busy the nodes are on average when all have come: it says
	// how large the nodes are.
	meanBusy = 0.5
	// full is where a node refuses people.
	full = 0.80
)

// run is one simulation.
type run struct {
	cfg    Config
	dice   *rand.Rand
	report Report
	world  *world
	state  *store.State
	index  uint64
	now    time.Duration
	// placer is the leader's, follower that of the server which leads next.
	placer, follower *cluster.Placer
	members          []cluster.Member
	waiting          []int // rooms to be placed with the next entry
	since            time.Duration
	looked, told     time.Duration
	decisions        []time.Duration
	applying         time.Duration
}

// start is when the simulated hour begins.
func start() time.Time { return time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC) }

func (r *run) clock() time.Time { return start().Add(r.now) }

// Run simulates until the end of the story or of the context.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.validate(); err != nil {
		return Report{}, err
	}
	r := &run{cfg: cfg, dice: rand.New(rand.NewPCG(cfg.Seed, 1)), placer: cluster.NewPlacer(), follower: cluster.NewPlacer()}
	state, err := store.Open(cfg.Dir)
	if err != nil {
		return Report{}, err
	}
	r.state = state
	err = r.story(ctx)
	return r.report, errors.Join(err, state.Close())
}

func (r *run) story(ctx context.Context) error {
	arrivals := r.prepare()
	if err := r.register(); err != nil {
		return err
	}
	r.look()
	half := len(arrivals) / 2
	if err := r.arrive(ctx, arrivals[:half]); err != nil {
		return err
	}
	r.phase("half of the people", 0, 0)
	r.placer, r.follower = r.follower, r.placer // the leader dies; the next one has followed
	if err := r.arrive(ctx, arrivals[half:]); err != nil {
		return err
	}
	r.phase("all people", 0, 0)
	if err := r.measureState(); err != nil {
		return err
	}
	for _, loss := range []struct {
		name string
		of   func() []int
	}{
		{"one node lost", func() []int { return r.some(1) }},
		{"5 % of the nodes lost", func() []int { return r.some(max(1, r.cfg.Nodes/20)) }},
		{"a region lost", func() []int { return r.region(len(regions()) - 1) }},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.lose(loss.name, loss.of()); err != nil {
			return err
		}
	}
	r.finish()
	return nil
}

// register makes the nodes part of the cluster.
func (r *run) register() error {
	for _, n := range r.world.nodes {
		cmd := store.NewPutNode(r.clock(), store.Node{
			ID: n.id, PublicURL: "https://" + string(n.id) + ".example.org", ClusterAddr: string(n.id) + ".example.org:8082",
			GossipAddr: string(n.id) + ".example.org:8083", RelayAddr: string(n.id) + ".example.org:8085",
			Region: regions()[n.region].name, Version: "sim", Commands: store.CommandVersion,
		})
		if _, err := r.apply(cmd); err != nil {
			return err
		}
	}
	return nil
}

// apply commits a command as the state machine of a server does.
func (r *run) apply(cmd store.Command) (store.Applied, error) {
	data, err := cmd.Encode()
	if err != nil {
		return store.Applied{}, err
	}
	r.index++
	began := time.Now()
	applied, err := r.state.ApplyBatch([]store.Entry{{Index: r.index, Data: data}})
	r.applying += time.Since(began)
	if err != nil {
		return store.Applied{}, err
	}
	r.report.Raft.Entries++
	r.report.Raft.Bytes += len(data)
	if err := applied[0].Result.Err; err != nil {
		return store.Applied{}, fmt.Errorf("%s: %w", cmd, err)
	}
	for _, e := range applied[0].Events {
		r.placer.Assigned(r.clock(), e.Home, e.Previous, true)
		r.follower.Assigned(r.clock(), e.Home, e.Previous, false)
	}
	return applied[0], nil
}

// arrive lets people come in their order, and time go by.
func (r *run) arrive(ctx context.Context, arrivals []arrival) error {
	for i, a := range arrivals {
		if i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := r.until(a.at()); err != nil {
			return err
		}
		room := &r.world.rooms[a.room]
		if room.home < 0 && !room.asked {
			room.asked = true
			if len(r.waiting) == 0 {
				r.since = r.now
			}
			r.waiting = append(r.waiting, int(a.room))
		}
		if room.home < 0 {
			room.early++ // goes in when the room has a home
			continue
		}
		r.world.join(r.dice, int(a.room))
	}
	return r.flush()
}

// until lets time go by, with all that happens in it.
func (r *run) until(t time.Duration) error {
	for {
		next := min(r.looked+speaks, r.told+hears)
		if len(r.waiting) > 0 {
			next = min(next, r.since+entry)
		}
		if next > t {
			break
		}
		r.now = max(r.now, next)
		if len(r.waiting) > 0 && r.now >= r.since+entry {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if r.now >= r.told+hears {
			r.world.tellCrowded()
			r.told = r.now
		}
		if r.now >= r.looked+speaks {
			r.look()
		}
	}
	r.now = max(r.now, t)
	return nil
}

// look is the leader's and its followers' view of all nodes: what they said
// last, not what is.
func (r *run) look() {
	r.members = r.world.candidates(r.members, r.state.HomeCounts())
	r.placer.Refresh(r.clock(), r.members)
	r.follower.Refresh(r.clock(), r.members)
	r.world.speak()
	r.looked = r.now
}

// flush places the rooms that wait, in entries of the log.
func (r *run) flush() error {
	for len(r.waiting) > 0 {
		batch := r.waiting[:min(len(r.waiting), store.MaxAssignments)]
		homes := make([]store.Assignment, 0, len(batch))
		for _, i := range batch {
			w := r.world
			edge := w.land(r.dice, &w.rooms[i])
			hint := cluster.Hint{Node: w.nodes[edge].id, Region: regions()[w.nodes[edge].region].name}
			began := time.Now()
			to, err := r.placer.Place(r.clock(), w.id(i), hint)
			r.decisions = append(r.decisions, time.Since(began))
			if err != nil {
				return err
			}
			homes = append(homes, store.Assignment{Room: w.id(i), Node: to, Reason: store.ReasonNew})
		}
		if err := r.assign(homes); err != nil {
			return err
		}
		r.waiting = r.waiting[len(batch):]
	}
	return nil
}

// assign makes one entry of the log of what was decided, and lets in who waits.
func (r *run) assign(homes []store.Assignment) error {
	applied, err := r.apply(store.NewAssignHomes(r.clock(), homes))
	if err != nil {
		return err
	}
	r.report.Raft.Placements += len(homes)
	w := r.world
	for k, a := range applied.Result.Homes {
		if a.Err != nil {
			return a.Err
		}
		i := int(w.index[homes[k].Room])
		room := &w.rooms[i]
		room.home = int32(w.at[a.Home.Node])
		for ; room.early > 0; room.early-- {
			w.join(r.dice, i)
		}
	}
	return nil
}
