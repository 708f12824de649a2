package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/talkd/talkd/store"
)

// replica is how that which the cluster decides gets to this node, into its
// store.View: by Raft on a server (quorum), from a server on any other node
// (mirror). Nothing else in this package asks which it is, but for what only a
// server can do: lead, let nodes in, sign.
type replica interface {
	// start begins; fresh says that nobody else has decided anything yet. stop
	// ends it when the workers are gone.
	start(fresh bool) (stop func(), err error)
	// work runs beside the other workers until ctx ends.
	work(ctx context.Context) error
	// handOver is called before the end, so that nobody waits for this node.
	handOver()

	leader() store.NodeID   // "" for none
	follows() store.NodeID  // the server that tells this node, "" for none
	servers() []raft.Server // Raft's configuration, as far as it is known here
	term() uint64
	commit() uint64

	// secrets opens the keys of gossip, and has this node's key signed if it is
	// to be.
	secrets(ctx context.Context, gossip store.KeyRing, sign bool, now time.Time) (secrets, error)

	index() uint64 // of the last command that is applied here
	wait(ctx context.Context, index uint64) error
}

// progress is how far this node has got in the log.
type progress struct {
	mu      sync.Mutex // guards what follows
	applied uint64
	changed chan struct{} // closed when applied rises
	broken  error
}

func newProgress() progress { return progress{changed: make(chan struct{})} }

// wait returns when the command at this index is applied on this node.
func (p *progress) wait(ctx context.Context, index uint64) error {
	for {
		p.mu.Lock()
		applied, changed, broken := p.applied, p.changed, p.broken
		p.mu.Unlock()
		switch {
		case applied >= index:
			return nil
		case broken != nil:
			return broken
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// index is the last command that is applied on this node.
func (p *progress) index() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.applied
}

func (p *progress) advance(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if index > p.applied {
		p.applied = index
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

func (p *progress) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.broken
}

// end remembers the first failure, which it returns: nothing is applied any
// more.
func (p *progress) end(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = err
		close(p.changed)
		p.changed = make(chan struct{})
	}
	return p.broken
}

// quorum is the replica of a server.
type quorum struct {
	*fsm
	c *Cluster
}

func (q quorum) start(fresh bool) (func(), error) {
	r, stop, err := q.c.startRaft(q.fsm, fresh)
	if err != nil {
		return nil, err
	}
	q.c.raft.Store(r)
	return stop, nil
}

func (q quorum) work(ctx context.Context) error {
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error { return q.heedSilence(ctx) })
	work.Go(func() error { return q.c.lead(ctx) })
	return work.Wait()
}

// handOver gives leadership to another server.
func (q quorum) handOver() {
	r := q.c.raft.Load()
	if r.State() != raft.Leader {
		return
	}
	done := make(chan error, 1)
	go func() { done <- r.LeadershipTransfer().Error() }() // ends with Raft at the latest
	select {
	case err := <-done:
		if err != nil {
			q.c.log.Debug("leadership not handed over", "error", err)
		}
	case <-time.After(raftTransfer):
	}
}

func (q quorum) follows() store.NodeID { return "" }

func (q quorum) leader() store.NodeID {
	r := q.c.raft.Load()
	if r == nil {
		return ""
	}
	_, id := r.LeaderWithID()
	return store.NodeID(id)
}

func (q quorum) servers() []raft.Server {
	r := q.c.raft.Load()
	if r == nil {
		return nil
	}
	f := r.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

func (q quorum) term() uint64 {
	if r := q.c.raft.Load(); r != nil {
		return r.CurrentTerm()
	}
	return 0
}

func (q quorum) commit() uint64 {
	if r := q.c.raft.Load(); r != nil {
		return r.CommitIndex()
	}
	return 0
}
