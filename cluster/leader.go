package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// leadership is what this node keeps while it leads. A term has one leader, so
// the term tells one leadership from the next, also when it was lost and won
// back between two looks.
type leadership struct {
	mu       sync.Mutex // guards what follows
	term     uint64     // 0: this node does not lead
	since    time.Time
	caughtUp bool // all that was decided before is applied
	paused   bool // another node may be about to lead: no leases
	stopping bool // so is this node, for good
	asking   sync.WaitGroup
	verified time.Time
	former   store.NodeID // who led before; maybe it died
	renewed  map[store.NodeID]time.Time
	moving   map[store.NodeID]bool // nodes whose rooms are being placed anew
}

func newLeadership() *leadership { return &leadership{} }

// begin notes a term in which this node leads; false if it is known already.
func (l *leadership) begin(term uint64, former store.NodeID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term {
		return false
	}
	l.term, l.former, l.since, l.caughtUp, l.verified = term, former, now, false, time.Time{}
	l.renewed, l.moving = make(map[store.NodeID]time.Time), make(map[store.NodeID]bool)
	return true
}

// end notes that this node does not lead; false if that is known already.
func (l *leadership) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.term != 0
	l.term, l.caughtUp = 0, false
	return was
}

func (l *leadership) setCaughtUp(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == term {
		l.caughtUp = true
	}
}

// pause stops or resumes granting leases.
func (l *leadership) pause(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
}

// stop ends granting and holding leases for good.
func (l *leadership) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopping = true
}

// ask asks Raft something in a goroutine, unless this node stops.
func (l *leadership) ask(question func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopping {
		return false
	}
	l.asking.Go(question)
	return true
}

// acts tells whether this node leads and knows all that was decided before.
func (l *leadership) acts() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term != 0 && l.caughtUp
}

// lead notices leadership and does a leader's work, every reconcileInterval
// and whenever the leader changes.
func (c *Cluster) lead(ctx context.Context) error {
	r := c.raft.Load()
	changes, cancel := watchLeader(r)
	defer cancel()
	servers := newPilot(c, r)
	defer servers.stop()
	tick := time.NewTicker(reconcileInterval)
	defer tick.Stop()
	var former store.NodeID
	for {
		if err := c.leadOnce(ctx, r, servers, former); err != nil {
			return err
		}
		if leader := c.leader(); leader != "" {
			former = leader
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
			c.log.Info("leader changed", "leader", c.leader())
			c.metrics.leaderChanges.Inc()
			c.leaders.tick()
			c.members.tick()
		case <-tick.C:
		}
	}
}

func (c *Cluster) leadOnce(ctx context.Context, r *raft.Raft, servers *pilot, former store.NodeID) error {
	term := r.CurrentTerm()
	if r.State() != raft.Leader {
		if c.leading.end() {
			servers.stop()
		}
		return nil
	}
	if now := time.Now(); c.leading.begin(term, former, now) {
		servers.stop() // what it knew is of another term
		c.hearing.reset(now)
		c.placing.changed()
	}
	if !c.leading.acts() {
		if err := r.Barrier(raftApply).Error(); err != nil {
			c.log.Debug("leading, not caught up", "error", err)
			return nil // the next round tries again, if this node still leads
		}
		if err := c.proposeBootstrap(); err != nil {
			return err
		}
		c.leading.setCaughtUp(term)
	}
	servers.start(ctx)
	c.reconcile(ctx)
	c.advanceKeys(time.Now())
	return nil
}

// proposeBootstrap makes the cluster what newIdentity planned, at the first
// node's first leadership.
func (c *Cluster) proposeBootstrap() error {
	b := c.bootstraps.Load()
	if b == nil {
		return nil
	}
	commands := []store.Command{
		store.NewClusterInit(time.Now(), b.Identity, b.Secrets...),
		store.NewPutNode(time.Now(), c.record),
	}
	for _, cmd := range commands {
		switch result, _, err := c.commit(cmd); {
		case err == nil, errors.Is(result.Err, store.ErrExists):
		case result.Err != nil:
			return fmt.Errorf("making the cluster: %w", err)
		default:
			c.log.Warn("the new cluster is not committed yet", "error", err)
			return nil // the next leadership tries again
		}
	}
	if err := os.Remove(filepath.Join(c.config.DataDir, fileBootstrap)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	c.bootstraps.Store(nil)
	return nil
}
