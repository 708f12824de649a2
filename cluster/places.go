package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/store"
)

// placements is the leader's view of all nodes, and the order of its decisions.
// Every server keeps the counts, so that one that has just begun to lead knows
// what was placed in the moments before.
type placements struct {
	stale atomic.Bool // a node came, went or is to be left since the last look

	mu     sync.Mutex // guards what follows, and orders decisions
	placer *Placer
	at     time.Time // of the last look
}

func newPlacements() *placements { return &placements{placer: NewPlacer()} }

// changed asks for a new look before the next decision. Loads change all the
// time, and are looked at every viewFresh.
func (p *placements) changed() { p.stale.Store(true) }

// follow counts what was decided. It is called while commands are applied.
func (p *placements) follow(events []store.Event, here bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		switch e.Kind {
		case store.EventHomeAssigned:
			p.placer.Assigned(now, e.Home, e.Previous, here && e.Home.Reason != store.ReasonMove)
		case store.EventHomeReleased:
			p.placer.Assigned(now, store.Home{}, e.Home, here)
		case store.EventNodePut, store.EventNodeRemoved, store.EventDrainChanged, store.EventRestored:
			p.changed()
		default:
		}
	}
}

// view looks at all nodes, if the last look is not fresh. The caller holds the
// lock.
func (c *Cluster) view(now time.Time) *Placer {
	p := c.placing
	if p.stale.Swap(false) || now.Sub(p.at) >= viewFresh {
		p.placer.Refresh(now, c.candidates(now))
		p.at = now
	}
	return p.placer
}

// choose decides where a new room goes, and counts that in what follows.
func (c *Cluster) choose(room store.RoomID, hint Hint) (store.NodeID, error) {
	now := time.Now()
	c.placing.mu.Lock()
	defer c.placing.mu.Unlock()
	return c.view(now).Place(now, room, hint)
}

// chooseAnew decides where a room goes that has lost its home.
func (c *Cluster) chooseAnew(room store.RoomID, hint Hint) (store.NodeID, error) {
	var near []store.NodeID
	if c.config.Prefer != nil {
		near = c.config.Prefer(room)
	}
	now := time.Now()
	c.placing.mu.Lock()
	defer c.placing.mu.Unlock()
	return c.view(now).PlaceAnew(now, room, hint, near)
}

// Admit says whether the cluster has room for somebody more. ErrFull tells how
// much there is.
func (c *Cluster) Admit() error {
	c.placing.mu.Lock()
	defer c.placing.mu.Unlock()
	if streams, full := c.view(time.Now()).Headroom(); full {
		return errFull(streams)
	}
	return nil
}

// candidates are all nodes as this one sees them. To a leader, one that has
// renewed no lease lately could not act as a home.
func (c *Cluster) candidates(now time.Time) []Member {
	all := c.membersAt(now)
	if !c.leading.acts() {
		return all
	}
	for i := range all {
		m := &all[i]
		if m.State == StateAlive && (c.leading.silence(m.ID, now) > lease || c.leading.unheard(m.ID)) {
			m.State = StateSuspect
		}
	}
	return all
}
