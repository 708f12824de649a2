package cluster

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// Members are the nodes with a record, as this node sees them now, ordered by
// id.
func (c *Cluster) Members() []Member {
	now := time.Now()
	nodes, rooms, servers, leader := c.state.Nodes(), c.state.HomeCounts(), c.servers(), c.leader()
	most := 0
	for _, n := range rooms {
		most = max(most, n)
	}
	members := make([]Member, 0, len(nodes))
	for _, n := range nodes {
		m := Member{Node: n, Raft: RaftClient, Leader: n.ID == leader, Rooms: rooms[n.ID]}
		m.State, m.Load = c.gossip.state(n.ID, now)
		if n.Server() {
			m.Raft = raftRole(servers, n.ID)
		}
		m.Score = Candidate{ID: n.ID, Region: n.Region, State: m.State, Roles: n.Roles, Load: m.Load, Rooms: m.Rooms}.score(most)
		members = append(members, m)
	}
	return members
}

// Status is the cluster as this node sees it now.
func (c *Cluster) Status() Status {
	s := Status{
		Self: c.Self(), Leader: c.leader(), Applied: c.fsm.index(),
		Lease: c.Lease(), Ready: c.isReady(), Rooms: c.state.Rooms(),
	}
	if id, ok := c.state.Identity(); ok {
		s.ClusterID = id.ClusterID
	}
	if r := c.raft.Load(); r != nil {
		s.Term, s.Commit = r.CurrentTerm(), r.CommitIndex()
	}
	for _, server := range c.servers() {
		if server.Suffrage != raft.Voter {
			continue
		}
		s.Voters++
		if c.gossip.sees(store.NodeID(server.ID)) {
			s.Alive++
		}
	}
	// A lease comes from a leader that has heard a majority just now.
	s.Quorum = s.Lease
	return s
}
