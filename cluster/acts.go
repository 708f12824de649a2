package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// Acts tells whether this node may act as the home of a room under an epoch
// now. It is cheap.
//
// A room that was placed anew needs no more than a lease: the leader has
// waited for that of the home before. One that was moved from a home that
// lives, or released and placed again, does: the home before goes on until it
// has applied what was decided. The new home asks it, and acts when it says
// so. If it says nothing, its lease decides: a renewal makes a node apply first
// what was decided before (lease.go), so placementAnew after the new home has
// applied the decision the old one has either done so too, or has no lease.
func (c *Cluster) Acts(room store.RoomID, epoch uint64) bool {
	home, ok := c.state.Home(room)
	return ok && home.Node == c.Self() && home.Epoch == epoch && c.holdsLease() && c.settling.settled(room, home, time.Now())
}

// settling are the assignments of the last moments: whether homes before may
// still act.
type settling struct {
	asks chan ask

	mu     sync.Mutex // guards what follows
	last   uint64     // epoch that was looked at here
	marks  []mark     // the oldest first
	floor  uint64     // epochs up to it are settled by time
	whole  uint64     // epochs up to it came as a whole: what was before is not known
	former map[store.RoomID]former
	waits  map[store.RoomID]wait // of rooms whose home this node is
}

// former are the homes that a room had in the last moments.
type former struct {
	nodes []store.NodeID
	until time.Time // the last of them
}

// wait is for homes before that have not said that they stopped.
type wait struct {
	epoch uint64
	nodes []store.NodeID
}

// mark says that assignments up to an epoch were applied before its time had
// ended, which takes moveMark.
type mark struct {
	began time.Time
	epoch uint64
}

// ask is a question to a home before.
type ask struct {
	room  store.RoomID
	epoch uint64
	index uint64
	node  store.NodeID
}

const (
	// asksWaiting bounds the questions; beyond it time settles.
	asksWaiting = 4096
	asksAtOnce  = 16
)

func newSettling() *settling {
	return &settling{
		asks: make(chan ask, asksWaiting), former: make(map[store.RoomID]former), waits: make(map[store.RoomID]wait),
	}
}

// follow notes what was decided as it is applied. asking: homes before are
// asked.
func (s *settling) follow(self store.NodeID, events []store.Event, asking bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	for _, e := range events {
		switch e.Kind {
		case store.EventHomeReleased:
			s.leave(e.Room, e.Home.Node, now)
		case store.EventHomeAssigned:
			if e.Previous.Epoch != 0 && e.Home.Reason != store.ReasonAnew {
				s.leave(e.Room, e.Previous.Node, now)
			}
			delete(s.waits, e.Room)
			if e.Node == self {
				s.begin(self, e, asking)
			}
			s.reach(e.Home.Epoch, now)
		default:
		}
	}
}

// leave notes that a room has another home now, or none.
func (s *settling) leave(room store.RoomID, node store.NodeID, now time.Time) {
	f := s.former[room]
	if !slices.Contains(f.nodes, node) {
		f.nodes = append(f.nodes, node)
	}
	f.until = now
	s.former[room] = f
}

// begin notes that this node is the home of a room.
func (s *settling) begin(self store.NodeID, e store.Event, asking bool) {
	w := wait{epoch: e.Home.Epoch}
	for _, node := range s.former[e.Room].nodes {
		if node == self {
			continue
		}
		w.nodes = append(w.nodes, node)
		if !asking {
			continue
		}
		select {
		case s.asks <- ask{room: e.Room, epoch: e.Home.Epoch, index: e.Index, node: node}:
		default:
		}
	}
	if len(w.nodes) > 0 {
		s.waits[e.Room] = w
	}
}

// restored notes that all up to an epoch came at once.
func (s *settling) restored(epoch uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = epoch
	s.reach(epoch, now)
}

func (s *settling) reach(epoch uint64, now time.Time) {
	s.last = max(s.last, epoch)
	if n := len(s.marks); n == 0 || now.Sub(s.marks[n-1].began) >= moveMark {
		s.marks = append(s.marks, mark{began: now})
	}
	s.marks[len(s.marks)-1].epoch = s.last
}

func (s *settling) settled(room store.RoomID, home store.Home, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	switch w, waits := s.waits[room]; {
	case home.Epoch > s.last:
		return false // it is being applied
	case home.Epoch <= s.floor:
		return true
	case home.Epoch <= s.whole:
		return home.Reason == store.ReasonAnew || home.Reason == store.ReasonNew && now.Sub(home.Created) > moveOldRoom
	default:
		return !waits || w.epoch != home.Epoch
	}
}

// age lets time settle what is old, and forgets it.
func (s *settling) age(now time.Time) {
	old := 0
	for old < len(s.marks) && now.Sub(s.marks[old].began) >= moveMark+placementAnew {
		s.floor = s.marks[old].epoch
		old++
	}
	if old == 0 {
		return
	}
	s.marks = slices.Delete(s.marks, 0, old)
	maps.DeleteFunc(s.waits, func(_ store.RoomID, w wait) bool { return w.epoch <= s.floor })
	maps.DeleteFunc(s.former, func(_ store.RoomID, f former) bool { return now.Sub(f.until) >= placementAnew })
}

// confirm notes that a home before has stopped acting.
func (s *settling) confirm(asks []ask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range asks {
		w, ok := s.waits[a.room]
		if !ok || w.epoch != a.epoch {
			continue
		}
		w.nodes = slices.DeleteFunc(w.nodes, func(n store.NodeID) bool { return n == a.node })
		if s.waits[a.room] = w; len(w.nodes) == 0 {
			delete(s.waits, a.room)
		}
	}
}

// settle asks the homes before of rooms that have come here.
func (c *Cluster) settle(ctx context.Context) error {
	var calls errgroup.Group
	calls.SetLimit(asksAtOnce)
	defer calls.Wait() //nolint:errcheck // they have none
	for {
		var asks []ask
		select {
		case <-ctx.Done():
			return nil
		case a := <-c.settling.asks:
			asks = append(asks, a)
		}
		for len(c.settling.asks) > 0 && len(asks) < asksWaiting {
			asks = append(asks, <-c.settling.asks)
		}
		by := make(map[store.NodeID][]ask)
		for _, a := range asks {
			by[a.node] = append(by[a.node], a)
		}
		for node, asks := range by {
			calls.Go(func() error {
				if err := c.askApplied(ctx, node, asks[len(asks)-1].index); err != nil {
					c.log.Info("the home before does not answer, its lease decides", keyPeer, node, "rooms", len(asks), "error", err)
					return nil
				}
				c.settling.confirm(asks)
				c.members.tick()
				return nil
			})
		}
	}
}

func (c *Cluster) askApplied(ctx context.Context, node store.NodeID, index uint64) error {
	ctx, cancel := context.WithTimeout(ctx, placementAnew)
	defer cancel()
	conn, err := c.mesh.Connected(ctx, node) // worth all the time until the lease decides
	if err != nil {
		return err
	}
	_, err = clusterpb.NewClusterClient(conn).Applied(ctx, &clusterpb.AppliedRequest{Index: index})
	return err
}
