package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// See timeouts.go for why this is safe.

// holdsLease tells whether this node may act as a home now. It is cheap.
func (c *Cluster) holdsLease() bool {
	until := c.heldUntil.Load()
	if until == nil {
		return false
	}
	// The monotonic clock stands still while the machine is suspended, the
	// wall clock may be set: the lease ends with whichever ends first.
	now := time.Now()
	return now.Before(*until) && now.Round(0).Before(until.Round(0))
}

// renewLease is the holder's side.
func (c *Cluster) renewLease(ctx context.Context) error {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	changes, cancel := c.leaders.watch()
	defer cancel()
	held := false
	for {
		sent := time.Now()
		if c.renewOnce(ctx) && ctx.Err() == nil && !c.stopping() {
			until := sent.Add(c.leaseTime)
			c.heldUntil.Store(&until)
			c.renewed.Store(&sent)
		}
		if now := c.holdsLease(); now != held {
			held = now
			c.log.Info("lease", "held", held)
			if !held {
				c.metrics.leasesLost.Inc()
				c.announceAgain()
			}
			c.members.tick()
		}
		select {
		case <-ctx.Done():
			c.heldUntil.Store(nil)
			return nil
		case <-tick.C:
		case <-changes:
		}
	}
}

// stopping tells whether this node is handing over.
func (c *Cluster) stopping() bool {
	c.leading.mu.Lock()
	defer c.leading.mu.Unlock()
	return c.leading.stopping
}

// renewOnce asks the leader, and waits until this node knows what the leader
// says it must.
func (c *Cluster) renewOnce(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, leaseRPC)
	defer cancel()
	var reply *clusterpb.RenewReply
	request := &clusterpb.RenewRequest{Boot: c.boot, LogStart: c.logStart, Held: c.held.Load()}
	if r := c.raft.Load(); r != nil {
		request.LogIndex, request.LogTerm = lastEntry(r)
	}
	if load, err := json.Marshal(c.gossip.ownLoad()); err == nil {
		request.Load = load
	}
	switch leader := c.leader(); leader {
	case "":
		return false
	case c.Self():
		reply = c.serveRenew(ctx, c.Self(), request)
	default:
		node, err := c.reach(ctx, leader)
		if err != nil {
			return false
		}
		if reply, err = node.Renew(ctx, request); err != nil {
			if status.Code(err) == codes.PermissionDenied { // removed: that is told to nobody who asks for a lease
				c.announceAgain()
			}
			return false
		}
	}
	if s := reply.GetStatus(); s == clusterpb.Status_STATUS_REMOVED || s == clusterpb.Status_STATUS_ROLLED_BACK {
		c.announceAgain() // which says more
	}
	if reply.GetStatus() != clusterpb.Status_STATUS_OK {
		c.log.Debug("lease not renewed", "status", reply.GetStatus(), "detail", reply.GetDetail())
		return false
	}
	c.health.Store(reply.GetHealth())
	return c.replica.wait(ctx, reply.GetIndex()) == nil
}

// serveRenew is the leader's side.
func (c *Cluster) serveRenew(ctx context.Context, node store.NodeID, q *clusterpb.RenewRequest) *clusterpb.RenewReply {
	notLeader := &clusterpb.RenewReply{Status: clusterpb.Status_STATUS_NOT_LEADER, LeaderId: string(c.leader())}
	r := c.raft.Load()
	if r == nil || !c.leading.acts() {
		return notLeader
	}
	record, ok := c.state.Node(node)
	if !ok || record.Server() && !inRaft(c.servers(), node) {
		return &clusterpb.RenewReply{Status: clusterpb.Status_STATUS_REMOVED} // or taken out for its silence
	}
	lost := c.hearing.hear(node, r.CurrentTerm(), report{
		at: time.Now(), index: q.GetLogIndex(), term: q.GetLogTerm(), boot: q.GetBoot(), start: q.GetLogStart(),
		held: q.GetHeld(),
	})
	if lost != "" {
		return &clusterpb.RenewReply{Status: clusterpb.Status_STATUS_ROLLED_BACK, Detail: lost}
	}
	if load, err := decodeJSON[Load](q.GetLoad()); err == nil && node != c.Self() {
		c.gossip.report(node, load, time.Now())
	}
	if err := c.verifyLeader(ctx, r); err != nil {
		notLeader.Detail = err.Error()
		return notLeader
	}
	if !c.leading.grant(node, time.Now()) {
		return &clusterpb.RenewReply{Status: clusterpb.Status_STATUS_UNKNOWN, Detail: "not now"}
	}
	return &clusterpb.RenewReply{Status: clusterpb.Status_STATUS_OK, LeaderId: string(c.Self()), Index: c.replica.index(), Health: c.health.Load()}
}

// verifyLeader hears a majority, unless it did lately.
func (c *Cluster) verifyLeader(ctx context.Context, r *raft.Raft) error {
	now := time.Now()
	if c.leading.verifiedSince(now.Add(-leaseVerified / 2)) {
		return nil
	}
	term := r.CurrentTerm()
	done := make(chan error, 1)
	// Ends when Raft steps down, within raftLeaderLease, unless Raft is stopped
	// before: run waits for it.
	if !c.leading.ask(func() { done <- r.VerifyLeader().Error() }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	if !c.leading.setVerified(term, now) {
		return errors.New("another term")
	}
	return nil
}

func (l *leadership) verifiedSince(t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term != 0 && l.verified.After(t)
}

// setVerified notes when this node asked a majority that then answered.
func (l *leadership) setVerified(term uint64, asked time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term != term {
		return false
	}
	if asked.After(l.verified) {
		l.verified = asked
	}
	return true
}

// grant gives a lease, if a majority was heard lately and the node's rooms are
// not on their way to others.
func (l *leadership) grant(node store.NodeID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || !l.caughtUp || l.paused || l.stopping || l.moving[node] || now.Sub(l.verified) >= leaseVerified {
		return false
	}
	l.renewed[node] = now
	return true
}

// unheard is the node that led before, until it shows that it lives: a leader
// that was lost is no home for a new room, though gossip may not know yet.
func (l *leadership) unheard(node store.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, heard := l.renewed[node]
	return node == l.former && !heard
}

// silence is how long a node has renewed nothing with this leader.
func (l *leadership) silence(node store.NodeID, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.silenceLocked(node, now)
}

func (l *leadership) silenceLocked(node store.NodeID, now time.Time) time.Duration {
	last := l.since
	if r := l.renewed[node]; r.After(last) {
		last = r
	}
	return now.Sub(last)
}

// claim takes the rooms of a node that was silent for long enough: until
// unclaim it gets no lease.
func (l *leadership) claim(node store.NodeID, after time.Duration, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == 0 || !l.caughtUp || l.moving[node] || l.silenceLocked(node, now) < after {
		return false
	}
	l.moving[node] = true
	return true
}

func (l *leadership) unclaim(node store.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.moving, node)
}
