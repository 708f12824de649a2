package cluster

import (
	"context"
	"strconv"
	"time"

	"github.com/hashicorp/raft"
	autopilot "github.com/hashicorp/raft-autopilot"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// Who votes is decided by the leader's autopilot, every voterInterval:
//
//	Renew, Announce ── hearing ── health of each server
//	                                 │
//	records (who is there) ── chooseVoters ── promote, demote: one step
//	                                 │
//	            non-voters that are silent or removed leave Raft
//
// A server comes into Raft as a non-voter when it announces itself, and again
// when it comes back: its record stays until somebody removes it. What votes is
// taken out of Raft in two steps, as it is demoted first; so all of the rules are
// in chooseVoters.

// pilot is hashicorp's autopilot with our promoter. It runs while this node
// leads.
type pilot struct {
	c    *Cluster
	raft pilotRaft
	auto *autopilot.Autopilot
}

var (
	_ autopilot.ApplicationIntegration = (*pilot)(nil)
	_ autopilot.Promoter               = (*pilot)(nil)
)

func newPilot(c *Cluster, r *raft.Raft) *pilot {
	p := &pilot{c: c, raft: pilotRaft{Raft: r, leading: c.leading}}
	p.auto = autopilot.New(p.raft, p,
		autopilot.WithPromoter(p),
		autopilot.WithLogger(raftLog{log: c.log, name: "autopilot"}),
		autopilot.WithUpdateInterval(voterInterval/2),
		autopilot.WithReconcileInterval(voterInterval),
	)
	return p
}

// start begins to look after the voters; it does nothing if it does already.
func (p *pilot) start(ctx context.Context) { p.auto.Start(ctx) }

// stop ends that and waits for it.
func (p *pilot) stop() { <-p.auto.Stop() }

// AutopilotConfig says when a server is healthy, and when a healthy one may
// vote.
func (p *pilot) AutopilotConfig() *autopilot.Config {
	voters := 0
	for _, s := range p.c.servers() {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	stable := serverStable
	if voters < minVoters {
		stable = serverStableFirst
	}
	return &autopilot.Config{
		CleanupDeadServers:      true,
		LastContactThreshold:    lease,
		MaxTrailingLogs:         serverTrailing,
		ServerStabilizationTime: stable,
	}
}

// KnownServers are the servers that have a record.
func (p *pilot) KnownServers() map[raft.ServerID]*autopilot.Server {
	now, leader := time.Now(), p.c.leader()
	known := make(map[raft.ServerID]*autopilot.Server)
	for _, n := range p.c.state.Nodes() {
		if !n.Server() || n.Pending {
			continue
		}
		status := autopilot.NodeAlive
		if n.ID != p.c.Self() && p.c.hearing.silence(n.ID, now) > serverFailed {
			status = autopilot.NodeFailed
		}
		known[raft.ServerID(n.ID)] = &autopilot.Server{
			ID: raft.ServerID(n.ID), Name: string(n.ID), Address: raft.ServerAddress(n.ID),
			NodeStatus: status, Version: n.Version, IsLeader: n.ID == leader,
			Meta: map[string]string{metaRegion: n.Region},
		}
	}
	return known
}

const metaRegion = "region"

// FetchServerStats is what the servers told last. One that has told nothing is
// left out, and so not healthy.
func (p *pilot) FetchServerStats(_ context.Context, servers map[raft.ServerID]*autopilot.Server) map[raft.ServerID]*autopilot.ServerStats {
	now := time.Now()
	stats := make(map[raft.ServerID]*autopilot.ServerStats, len(servers))
	for id := range servers {
		if store.NodeID(id) == p.c.Self() {
			index, term := lastEntry(p.raft.Raft)
			stats[id] = &autopilot.ServerStats{LastIndex: index, LastTerm: term}
			continue
		}
		if r, ok := p.c.hearing.report(store.NodeID(id)); ok && r.term > 0 {
			stats[id] = &autopilot.ServerStats{LastContact: now.Sub(r.at), LastIndex: r.index, LastTerm: r.term}
		}
	}
	return stats
}

// NotifyState keeps what Status tells.
func (p *pilot) NotifyState(s *autopilot.State) {
	now := &clusterpb.Health{Healthy: s.Healthy, Tolerance: uint32(max(0, s.FailureTolerance))}
	before := p.c.health.Swap(now)
	if before.GetHealthy() != now.GetHealthy() || before.GetTolerance() != now.GetTolerance() {
		p.c.members.tick()
	}
}

// RemoveFailedServer takes a silent non-voter out of Raft. Its record stays: it
// announces itself when it comes back.
func (p *pilot) RemoveFailedServer(s *autopilot.Server) {
	if err := p.raft.RemoveServer(s.ID, 0, raftApply).Error(); err != nil {
		p.c.log.Warn("silent server not taken out of raft yet", keyPeer, s.ID, "error", err)
		return
	}
	p.c.log.Info("silent server taken out of raft", keyPeer, s.ID)
}

// CalculatePromotionsAndDemotions asks chooseVoters.
func (p *pilot) CalculatePromotionsAndDemotions(conf *autopilot.Config, s *autopilot.State) autopilot.RaftChanges {
	now, after := time.Now(), s.ServerStabilizationTime(conf)
	servers := make([]votingServer, 0, len(s.Servers))
	for id, srv := range s.Servers {
		servers = append(servers, votingServer{
			id: store.NodeID(id), region: srv.Server.Meta[metaRegion],
			voter: srv.HasVotingRights(), leader: id == s.Leader,
			gone:   srv.Server.NodeStatus == autopilot.NodeLeft,
			failed: srv.Server.NodeStatus == autopilot.NodeFailed,
			stable: srv.Health.IsStable(now, after), since: srv.Health.StableSince,
		})
	}
	change := chooseVoters(servers, p.c.config.voters())
	changes := autopilot.RaftChanges{Leader: raft.ServerID(change.leader)}
	for _, id := range change.promote {
		changes.Promotions = append(changes.Promotions, raft.ServerID(id))
	}
	for _, id := range change.demote {
		changes.Demotions = append(changes.Demotions, raft.ServerID(id))
	}
	return changes
}

// FilterFailedServerRemovals leaves voters in: they are demoted first.
func (p *pilot) FilterFailedServerRemovals(_ *autopilot.Config, _ *autopilot.State, failed *autopilot.FailedServers) *autopilot.FailedServers {
	return &autopilot.FailedServers{StaleNonVoters: failed.StaleNonVoters, FailedNonVoters: failed.FailedNonVoters}
}

// IsPotentialVoter is what autopilot keeps from removing too many by; only
// non-voters are removed here, and these may all go.
func (p *pilot) IsPotentialVoter(autopilot.NodeType) bool { return false }

// GetServerExt adds nothing.
func (p *pilot) GetServerExt(*autopilot.Config, *autopilot.ServerState) any { return nil }

// GetStateExt adds nothing.
func (p *pilot) GetStateExt(*autopilot.Config, *autopilot.State) any { return nil }

// GetNodeTypes adds nothing.
func (p *pilot) GetNodeTypes(*autopilot.Config, *autopilot.State) map[raft.ServerID]autopilot.NodeType {
	return nil
}

// pilotRaft is Raft as autopilot may use it.
type pilotRaft struct {
	*raft.Raft
	leading *leadership
}

// LeadershipTransferToServer hands over. No lease may be granted meanwhile:
// another node may lead already.
func (p pilotRaft) LeadershipTransferToServer(id raft.ServerID, address raft.ServerAddress) raft.Future {
	p.leading.pause(true)
	defer p.leading.pause(false)
	f := p.Raft.LeadershipTransferToServer(id, address)
	_ = f.Error() // waits; the caller asks again
	return f
}

// lastEntry is where this node's log ends.
func lastEntry(r *raft.Raft) (index, term uint64) {
	stats := r.Stats()
	term, _ = strconv.ParseUint(stats["last_log_term"], 10, 64) // 0 is no term
	index, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	return index, term
}
