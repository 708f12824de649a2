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
	return ok && home.Node == c.Self() && home.Epoch == epoch && c.Lease() && c.settling.settled(room, home, time.Now())
}

// settling are the assignments of the last moments: whether the homes before
// may still act.
type settling struct {
	asks chan ask

	mu    sync.Mutex // guards what follows
	last  uint64     // epoch that is looked at here
	marks []mark     // the oldest first
	floor uint64     // epochs up to it are settled by time
	whole uint64     // epochs up to it came as a whole: what was before is not known

	confirmed map[store.RoomID]uint64  // the home before has said that it stopped
	released  map[store.RoomID]release // homes
	reused    map[store.RoomID]uint64  // placed again by another node's release
}

// release is the end of a home.
type release struct {
	store.Home
	at time.Time
}

// mark says that assignments up to an epoch were applied before a time.
type mark struct {
	at    time.Time
	epoch uint64
}

// ask is a question to the home before.
type ask struct {
	room     store.RoomID
	epoch    uint64
	index    uint64
	previous store.NodeID
}

const (
	// markEvery is how far marks are apart at least.
	markEvery = 100 * time.Millisecond
	// asksWaiting bounds the questions; beyond it time settles.
	asksWaiting = 4096
	asksAtOnce  = 16
	// newFor is how far the clocks of nodes may be apart when it is judged
	// whether a room is as old as its home's first assignment says.
	newFor = time.Minute
)

func newSettling() *settling {
	return &settling{
		asks: make(chan ask, asksWaiting), confirmed: make(map[store.RoomID]uint64),
		released: make(map[store.RoomID]release), reused: make(map[store.RoomID]uint64),
	}
}

// follow notes what was decided as it is applied. asking: homes before are
// asked.
func (s *settling) follow(self store.NodeID, events []store.Event, asking bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		switch e.Kind {
		case store.EventHomeReleased:
			if e.Home.Node != self {
				s.released[e.Room] = release{e.Home, now}
			}
		case store.EventHomeAssigned:
			before := e.Previous
			if r, ok := s.released[e.Room]; ok {
				delete(s.released, e.Room)
				if e.Home.Reason == store.ReasonNew && e.Node == self {
					before, s.reused[e.Room] = r.Home, e.Home.Epoch
				}
			}
			if asking && e.Node == self && s.overlaps(e.Room, e.Home, now) && before.Node != self && before.Node != "" {
				select {
				case s.asks <- ask{room: e.Room, epoch: e.Home.Epoch, index: e.Index, previous: before.Node}:
				default:
				}
			}
			s.reach(e.Home.Epoch, now)
		default:
		}
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
	if n := len(s.marks); n == 0 || now.Sub(s.marks[n-1].at) >= markEvery {
		s.marks = append(s.marks, mark{now, s.last})
	}
}

// overlaps says that the home before may act until it hears of the assignment.
func (s *settling) overlaps(room store.RoomID, home store.Home, now time.Time) bool {
	switch home.Reason {
	case store.ReasonMove, store.ReasonDrain:
		return true
	case store.ReasonNew:
		return s.reused[room] == home.Epoch || home.Epoch <= s.whole && now.Sub(home.Created) < newFor
	default:
		return false
	}
}

func (s *settling) settled(room store.RoomID, home store.Home, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.marks); n == 0 && s.floor < s.last || n > 0 && s.marks[n-1].epoch < s.last {
		s.marks = append(s.marks, mark{now, s.last}) // what came since the last mark
	}
	old := 0
	for old < len(s.marks) && now.Sub(s.marks[old].at) >= placementAnew {
		s.floor = s.marks[old].epoch
		old++
	}
	if old > 0 {
		s.marks = slices.Delete(s.marks, 0, old)
		s.forget(now)
	}
	return home.Epoch <= s.last && (home.Epoch <= s.floor || s.confirmed[room] == home.Epoch || !s.overlaps(room, home, now))
}

// forget drops what time has settled.
func (s *settling) forget(now time.Time) {
	past := func(_ store.RoomID, epoch uint64) bool { return epoch <= s.floor }
	maps.DeleteFunc(s.confirmed, past)
	maps.DeleteFunc(s.reused, past)
	maps.DeleteFunc(s.released, func(_ store.RoomID, r release) bool { return now.Sub(r.at) >= placementAnew })
}

// confirm notes that the homes before have stopped acting.
func (s *settling) confirm(asks []ask) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range asks {
		if a.epoch > s.floor {
			s.confirmed[a.room] = a.epoch
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
			by[a.previous] = append(by[a.previous], a)
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
	conn, err := c.mesh.Connected(ctx, node)
	if err != nil {
		return err
	}
	_, err = clusterpb.NewClusterClient(conn).Applied(ctx, &clusterpb.AppliedRequest{Index: index})
	return err
}
