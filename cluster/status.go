package cluster

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/store"
)

// Members are the nodes with a record, as this node sees them now, ordered by
// id.
func (c *Cluster) Members() []Member {
	members, servers, leader := c.membersAt(time.Now()), c.servers(), c.leader()
	var most int32
	for _, m := range members {
		most = max(most, clamp(m.Rooms))
	}
	for i := range members {
		m := &members[i]
		m.Leader, m.Draining, m.Raft = m.ID == leader, c.state.Draining(m.ID), RaftClient
		if m.Server() {
			m.Raft = raftRole(servers, m.ID)
		}
		m.Score = score(m.Load.Busy(), roomWeight(most), clamp(m.Rooms), 0)
		if m.TakesRooms() {
			m.Headroom = max(0, m.Load.Headroom)
		}
	}
	return members
}

// membersAt are the nodes with a record, and how they do.
func (c *Cluster) membersAt(now time.Time) []Member {
	nodes, rooms := c.state.Nodes(), c.state.HomeCounts()
	members := make([]Member, 0, len(nodes))
	for _, n := range nodes {
		m := Member{Node: n, Rooms: rooms[n.ID]}
		m.State, m.Load = c.seen(n.ID, now)
		members = append(members, m)
	}
	return members
}

// othersAlive are the other nodes, as far as gossip hears of them.
func (c *Cluster) othersAlive() []store.NodeID {
	var others []store.NodeID
	for _, n := range c.state.Nodes() {
		if n.ID != c.Self() && c.gossip.sees(n.ID) {
			others = append(others, n.ID)
		}
	}
	return others
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
		Lease: c.holdsLease(), Ready: c.isReady(), Rooms: c.state.Rooms(),
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
