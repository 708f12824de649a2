package cluster

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// heedSilence makes Raft look for its leader when it is due. By itself a follower
// looks at random moments, 1 to 3 raftHeartbeat after the leader was heard last,
// and of two that stand, the second is elected: the first is refused by those who
// have not looked yet. So all look as early as they may, one after the other.
func (q quorum) heedSilence(ctx context.Context) error {
	r := q.c.raft.Load()
	timer := time.NewTimer(raftHeartbeat)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		next := raftHeartbeat
		if turn, ok := q.turn(); ok && r.State() == raft.Follower {
			due := r.LastContact().Add(raftHeartbeat + time.Duration(turn)*raftStagger)
			if wait := time.Until(due); wait > 0 {
				next = wait
			} else if err := lookNow(r); err != nil {
				return err
			}
		}
		timer.Reset(next)
	}
}

// turn is this node's place among the voters that may miss the leader.
func (q quorum) turn() (place int, ok bool) {
	leader := raft.ServerID(q.leader())
	if leader == "" {
		return 0, false
	}
	var voters []raft.ServerID
	for _, s := range q.servers() {
		if s.Suffrage == raft.Voter && s.ID != leader {
			voters = append(voters, s.ID)
		}
	}
	slices.Sort(voters)
	return slices.BinarySearch(voters, raft.ServerID(q.c.Self()))
}

// lookNow has a follower see whether its leader was silent for raftHeartbeat: Raft
// does so when that time is made shorter.
func lookNow(r *raft.Raft) error {
	usual := r.ReloadableConfig()
	shorter := usual
	shorter.HeartbeatTimeout -= time.Millisecond
	if err := r.ReloadConfig(shorter); err != nil {
		return err
	}
	return r.ReloadConfig(usual)
}
