package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/talkd/talkd/store"
)

// batches put placements that are asked for at the same time into one entry of
// the log. While one entry is under way requests wait, and go together in the
// next: nobody waits for a timer, and a busy leader writes fewer and longer
// entries. There is no goroutine: whoever finds nothing under way commits for
// all who wait, then hands that on.
type batches struct {
	mu      sync.Mutex // guards what follows
	waiting []*placeRequest
	busy    bool // somebody commits
}

// maxWaiting bounds the requests that wait; beyond it the caller tries again.
const maxWaiting = 4096

// placeRequest is one room that needs a home.
type placeRequest struct {
	room store.RoomID
	hint Hint
	turn chan bool // true: commit for the others; false: done
	done placeResult
}

type placeResult struct {
	home  store.Home
	index uint64 // at which the home is known, at the latest
	err   error
}

var errBusy = errors.New("too many placements are waiting")

// place gives a room a home that has none, as the leader.
func (c *Cluster) place(ctx context.Context, room store.RoomID, hint Hint) placeResult {
	for {
		r := c.placeOnce(room, hint)
		// Stale: somebody else was quicker.
		if !errors.Is(r.err, store.ErrStaleEpoch) || ctx.Err() != nil {
			return r
		}
	}
}

func (c *Cluster) placeOnce(room store.RoomID, hint Hint) placeResult {
	b := &c.batches
	q := &placeRequest{room: room, hint: hint, turn: make(chan bool, 1)}
	b.mu.Lock()
	if len(b.waiting) >= maxWaiting {
		b.mu.Unlock()
		return placeResult{err: fmt.Errorf("%w: %w", errNotLeader, errBusy)}
	}
	b.waiting = append(b.waiting, q)
	commit := !b.busy
	b.busy = true
	b.mu.Unlock()
	// An entry ends within moments, or when Raft steps down: the caller's
	// context need not end this wait.
	if commit || <-q.turn {
		c.commitWaiting()
		<-q.turn
	}
	return q.done
}

// commitWaiting commits for those who wait, the caller is one of them, and
// hands on if there are more.
func (c *Cluster) commitWaiting() {
	b := &c.batches
	b.mu.Lock()
	n, names := 0, 0
	for ; n < min(len(b.waiting), store.MaxAssignments); n++ {
		if names += b.waiting[n].room.Len(); names > store.MaxAssignedNames {
			break
		}
	}
	batch := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	b.mu.Unlock()

	c.commitBatch(batch)
	for _, q := range batch {
		q.turn <- false
	}

	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) == 0 {
		b.busy, b.waiting = false, nil
		return
	}
	b.waiting[0].turn <- true
}

// commitBatch decides and commits one entry.
func (c *Cluster) commitBatch(batch []*placeRequest) {
	homes := make([]store.Assignment, 0, len(batch))
	asked := make([]*placeRequest, 0, len(batch))
	for _, q := range batch {
		if home, ok := c.state.Home(q.room); ok {
			q.done = placeResult{home: home, index: c.replica.index()}
			continue
		}
		node, err := c.choose(q.room, q.hint)
		if err != nil {
			q.done = placeResult{err: err}
			continue
		}
		homes = append(homes, store.Assignment{Room: q.room, Node: node, Reason: store.ReasonNew})
		asked = append(asked, q)
	}
	if len(homes) == 0 {
		return
	}
	result, index, err := c.commit(store.NewAssignHomes(time.Now(), homes))
	for i, q := range asked {
		if err != nil {
			q.done = placeResult{err: err}
			continue
		}
		q.done = placeResult{home: result.Homes[i].Home, index: index, err: result.Homes[i].Err}
	}
}
