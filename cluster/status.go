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
		m.State, m.Load = c.seen(n.ID, now)
		m.Draining = c.state.Draining(n.ID)
		if n.Server() {
			m.Raft = raftRole(servers, n.ID)
		}
		candidate := Candidate{ID: n.ID, Region: n.Region, State: m.State, Roles: n.Roles, Load: m.Load, Rooms: m.Rooms}
		m.Score = score(m.Load.Busy(), m.Rooms, most, 0)
		if candidate.fit() {
			m.Headroom = max(0, m.Load.Headroom)
		}
		members = append(members, m)
	}
	return members
}

// seen is what gossip says of a node, and whether it is to be left.
func (c *Cluster) seen(id store.NodeID, now time.Time) (MemberState, Load) {
	state, load := c.gossip.state(id, now)
	if state == StateAlive && c.state.Draining(id) {
		state = StateDraining
	}
	return state, load
}

// Status is the cluster as this node sees it now.
func (c *Cluster) Status() Status {
	s := Status{
		Self: c.Self(), Leader: c.leader(), Applied: c.replica.index(),
		Lease: c.Lease(), Ready: c.isReady(), Rooms: c.state.Rooms(),
	}
	if id, ok := c.state.Cluster(); ok {
		s.ClusterID = id.ID
	}
	s.Follows = c.replica.follows()
	s.Term, s.Commit = c.replica.term(), c.replica.commit()
	for _, server := range c.servers() {
		if server.Suffrage != raft.Voter {
			continue
		}
		s.Voters++
		if c.gossip.sees(store.NodeID(server.ID)) {
			s.Alive++
		}
	}
	for _, m := range c.Members() {
		s.Headroom += m.Headroom
	}
	// A lease comes from a leader that has heard a majority just now.
	s.Quorum = s.Lease
	if h := c.health.Load(); h != nil && s.Lease {
		s.Healthy, s.Tolerance = h.GetHealthy(), int(h.GetTolerance())
	}
	return s
}

// RoomsPage is one page of the rooms that have a home.
func (c *Cluster) RoomsPage(q store.RoomsQuery) (page []store.PlacedRoom, total int, next store.RoomsCursor) {
	return c.state.RoomsPage(q)
}
