package api

import (
	"fmt"
	"time"

	"github.com/talkd/talkd/store"
)

// ClusterView is the cluster as this node sees it.
type ClusterView struct {
	ClusterID    string `json:"cluster_id"`
	Leader       string `json:"leader"` // "": none is known
	Term         uint64 `json:"term"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	Quorum       bool   `json:"quorum"`
	Voters       int    `json:"voters"`
	VotersAlive  int    `json:"voters_alive"`
	// FailureTolerance is how many more voters may fail before nothing can be
	// decided.
	FailureTolerance int        `json:"failure_tolerance"`
	Nodes            []NodeView `json:"nodes"`
	NodesTotal       int        `json:"nodes_total"` // Nodes has the first maxNodes of them
	Rooms            int        `json:"rooms"`
	Sessions         int        `json:"sessions"`
	// Headroom is how many more streams the nodes that take rooms can forward.
	Headroom int       `json:"headroom"`
	Version  string    `json:"version"` // of the node that answers
	Warnings []Warning `json:"warnings"`
}

// NodeView is a node.
type NodeView struct {
	ID       string     `json:"id"`
	URL      string     `json:"url"`
	Region   string     `json:"region"`
	Roles    []string   `json:"roles"` // none: all
	Version  string     `json:"version"`
	Raft     string     `json:"raft"`  // voter, nonvoter or client
	State    string     `json:"state"` // alive, suspect, dead or draining
	Load     LoadView   `json:"load"`
	Capacity Capacity   `json:"capacity"`
	UptimeS  float64    `json:"uptime_s"`
	Pending  bool       `json:"pending,omitempty"`  // it was let in and has not come yet
	Health   *Condition `json:"health,omitempty"`   // nil: the node did not tell
	Overload *Overload  `json:"overload,omitempty"` // nil: it forwards all

	TakesRooms bool `json:"-"` // placement would give it new ones; for the warnings
}

// LoadView is what a node measured of itself.
type LoadView struct {
	CPU         float64 `json:"cpu"` // share of the machine, 0–1
	EgressBps   float64 `json:"egress_bps"`
	IngressBps  float64 `json:"ingress_bps"`
	EgressPps   float64 `json:"egress_pps"`
	Sessions    int     `json:"sessions"`
	Publishers  int     `json:"publishers"`
	Subscribers int     `json:"subscribers"`
	Rooms       int     `json:"rooms"`
	Headroom    int     `json:"headroom"` // streams it could still forward
	Score       float64 `json:"score"`
}

// Capacity is what a node may take; what is not limited is left out.
type Capacity struct {
	EgressBps float64 `json:"egress_bps,omitempty"`
	Sessions  int     `json:"sessions,omitempty"`
}

// Condition is what a node tells of its machine when it is asked.
type Condition struct {
	DiskFreeBytes      uint64    `json:"disk_free_bytes"` // of its data directory
	DiskSizeBytes      uint64    `json:"disk_size_bytes"`
	ClockOffsetS       float64   `json:"clock_offset_s"` // ahead of the clock of the node that answers
	CertificateExpires time.Time `json:"certificate_expires"`
}

// Overload is what a node leaves out since it has not the strength for all: video,
// never voice.
type Overload struct {
	Reason  string    `json:"reason"` // cpu, egress, loss or delay
	Since   time.Time `json:"since"`
	Streams int       `json:"streams"` // of video that its subscribers want
	Lowered int       `json:"lowered"` // of them, those that get a worse layer
	Paused  int       `json:"paused"`  // of them, those that get nothing
}

// String says it in words.
func (o Overload) String() string {
	return fmt.Sprintf("of %s of video %d are paused and %d worse than wanted, voice goes on", Count(o.Streams, "stream"), o.Paused, o.Lowered)
}

// Cause says in words why.
func (o Overload) Cause() string {
	switch o.Reason {
	case "cpu":
		return "its processors are busy"
	case "egress":
		return "it sends more than media.max_egress"
	case "loss":
		return "packets find no room in it"
	default:
		return "packets wait in it"
	}
}

// RoomView is a room that has a home.
type RoomView struct {
	ID      string      `json:"id"`
	Backend string      `json:"backend"`
	Home    string      `json:"home"`
	Epoch   uint64      `json:"epoch"`
	Reason  string      `json:"reason,omitempty"` // why it is there: new, anew, move or drain
	Created time.Time   `json:"created"`
	Edges   []EdgeView  `json:"edges"`
	Relays  []RelayView `json:"relays"`
}

// EdgeView is a node's part of a room.
type EdgeView struct {
	Node        string `json:"node"`
	Sessions    int    `json:"sessions"`
	Publishers  int    `json:"publishers"`
	Subscribers int    `json:"subscribers"`
}

// RelayView is what one node brings from another for a room.
type RelayView struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Tracks int     `json:"tracks"`
	Bps    float64 `json:"bps"`
	Lost   uint64  `json:"lost"`
}

// RoomsPage is a part of the rooms.
type RoomsPage struct {
	Rooms []RoomView
	Total int               // how many match
	Next  store.RoomsCursor // where the next page begins; zero: there is none
}
