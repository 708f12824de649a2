package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// hearing is what the nodes told the leader of themselves, with each renewal of
// a lease. It says who is there to decide and who holds which keys; on whose
// lease is safe to count is leadership's affair.
type hearing struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // when this node began to lead: those that told nothing count from then
	last  map[store.NodeID]report
}

type report struct {
	at          time.Time
	index, term uint64 // of the last entry; 0: it did not say
	boot        int64
	start       uint64              // where the log ended when the process started
	held        *clusterpb.KeysHeld // nil: it did not say
}

func newHearing() *hearing { return &hearing{last: make(map[store.NodeID]report)} }

// reset forgets what was heard: a new leadership begins.
func (h *hearing) reset(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since = now
	clear(h.last)
}

// hear notes a sign of life, and tells what the log of a server has lost, since
// it was started again, of what it has confirmed to this leader: an entry of the
// leader's term at the end of a log says that all before it is the leader's, and
// from then on it can only grow.
func (h *hearing) hear(id store.NodeID, term uint64, r report) (lost string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.last[id]
	if old.boot != 0 && old.boot != r.boot && old.term == term && r.start < old.index {
		return fmt.Sprintf("its log ended at %d and ends at %d", old.index, r.start)
	}
	if r.term == 0 && old.boot == r.boot {
		r.index, r.term = old.index, old.term
	}
	if r.held == nil && old.boot == r.boot {
		r.held = old.held
	}
	h.last[id] = r
	return ""
}

// forget is for a node that was removed: the next of its id is another.
func (h *hearing) forget(id store.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, id)
}

func (h *hearing) report(id store.NodeID) (report, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.last[id]
	return r, ok
}

// silence is for how long a node has told this leader nothing.
func (h *hearing) silence(id store.NodeID, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.since
	if r := h.last[id]; r.at.After(last) {
		last = r.at
	}
	return now.Sub(last)
}
