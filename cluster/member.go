package cluster

import "github.com/talkd/talkd/store"

// MemberState is what gossip says of a node.
type MemberState string

// States of a member.
const (
	StateAlive    MemberState = "alive"
	StateSuspect  MemberState = "suspect"
	StateDead     MemberState = "dead"
	StateDraining MemberState = "draining"
)

// RaftRole is a node's part in decisions.
type RaftRole string

// Roles in Raft.
const (
	RaftVoter    RaftRole = "voter"
	RaftNonvoter RaftRole = "nonvoter"
	RaftClient   RaftRole = "client"
)

// Member is a node as this node sees it.
type Member struct {
	store.Node
	State MemberState // draining: it says so itself, or Draining does
	Load  Load
	Rooms int // of which it is the home

	// What only Cluster.Members tells; placement needs none of it.
	Draining bool // the cluster has decided that it is to be left
	Raft     RaftRole
	Leader   bool
	Score    float64 // what placement makes of the load; lower is better
	Headroom int     // streams that it could still forward; 0 unless it takes rooms
}

// Load is what a node measures of itself. Limits of zero mean none.
type Load struct {
	CPU         float64 `json:"cpu"` // share of the machine, 0–1
	EgressBps   float64 `json:"egress_bps"`
	IngressBps  float64 `json:"ingress_bps"`
	EgressPps   float64 `json:"egress_pps"`
	Sessions    int     `json:"sessions"`
	Publishers  int     `json:"publishers"`
	Subscribers int     `json:"subscribers"`

	MaxEgressBps float64 `json:"max_egress_bps,omitempty"`
	MaxSessions  int     `json:"max_sessions,omitempty"`

	// Headroom is how many more streams it could forward, one stream being one
	// track to one subscriber.
	Headroom int `json:"headroom"`
	// Exhausted: it takes no more, whatever the limits say.
	Exhausted bool `json:"exhausted,omitempty"`
	// Overload is what it leaves out of what it forwards.
	Overload Overload `json:"overload,omitzero"`

	// Crowded: it is well above the others, and people of rooms that grow are
	// better served elsewhere. New rooms go by the score.
	Crowded bool `json:"crowded,omitempty"`

	// Started is when the process started, in Unix seconds.
	Started int64 `json:"started,omitempty"`
}

// Full says that the node takes no more: it has reached a limit.
func (l Load) Full() bool {
	return l.Exhausted || l.MaxSessions > 0 && l.Sessions >= l.MaxSessions ||
		finite(l.MaxEgressBps) > 0 && finite(l.EgressBps) >= l.MaxEgressBps
}

// finite leaves out what could not be measured: JSON has no word for it.
func (l Load) finite() Load {
	for _, f := range []*float64{&l.CPU, &l.EgressBps, &l.IngressBps, &l.EgressPps, &l.MaxEgressBps} {
		*f = finite(*f)
	}
	return l
}

// Status is the cluster as this node sees it.
type Status struct {
	ClusterID string
	Self      store.NodeID
	Leader    store.NodeID // empty: none is known
	Term      uint64
	Commit    uint64
	Applied   uint64
	Voters    int
	Alive     int  // voters that gossip sees
	Quorum    bool // this node is in contact with a majority
	// What the leader's autopilot says, while this node is in contact.
	Healthy   bool // every server is
	Tolerance int  // voters that may fail before nothing can be decided
	Lease     bool
	Ready     bool
	Follows   store.NodeID // the server that tells this node, which is none; empty on servers and without contact
	Rooms     int
	Headroom  int // streams that the nodes that can take rooms could still forward
}
