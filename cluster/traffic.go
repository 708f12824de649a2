package cluster

import (
	"encoding/json"
	"math"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

// GossipTraffic is what gossip costs each node of a cluster. It is computed,
// from a real message and memberlist's parameters.
type GossipTraffic struct {
	NewsBytes int           `json:"news_bytes"` // of one node's news, as they are encoded
	NewsEvery time.Duration `json:"news_every_ns"`
	// Bound is what a node's packets hold in a second; Sent is what it sends,
	// at most that: each news is passed on a number of times.
	BoundBytesPerSecond float64 `json:"bound_bytes_per_second"`
	SentBytesPerSecond  float64 `json:"sent_bytes_per_second"`
	// LeaseBytesPerSecond is what the leader hears: each node's load with each
	// renewal.
	LeaseBytesPerSecond float64 `json:"lease_bytes_per_second"`
}

// Bytes that are not ours, about: memberlist's ping or answer, encrypted; its
// record of a node in an exchange of all it knows; a call over TLS without its
// content.
const (
	probeBytes  = 100
	recordBytes = 200
	callBytes   = 200
)

// TrafficOf computes the gossip of a cluster of so many nodes.
func TrafficOf(nodes int) GossipTraffic {
	c := memberlist.DefaultLANConfig()
	g := &gossip{live: nodes - 1}
	load := Load{
		CPU: 0.4321, EgressBps: 123456789.5, IngressBps: 23456789.25, EgressPps: 23456.5, Sessions: 1234, Publishers: 1234,
		Subscribers: 3456, MaxEgressBps: 1e9, MaxSessions: 50_000, Headroom: 12345, Started: 1.8e9,
	}
	message, err := json.Marshal(news{Node: store.NodeID("node-0001"), Boot: 1.8e18, Seq: 1e6, Load: load})
	if err != nil {
		return GossipTraffic{}
	}
	t := GossipTraffic{NewsBytes: len(message), NewsEvery: g.every()}
	perSecond := float64(nodes) / t.NewsEvery.Seconds()
	copies := gossipRetransmit * math.Ceil(math.Log10(float64(nodes+1)))
	t.BoundBytesPerSecond = float64(c.GossipNodes*c.UDPBufferSize) / gossipInterval.Seconds()
	// Each node pings one, and is pinged by one.
	probes := 2 * probeBytes * 2 / gossipProbe.Seconds()
	// An exchange of everything, both ways, begun and answered; memberlist does
	// it less often when there are more than 32.
	exchange := gossipPushPull.Seconds()
	if nodes > 32 {
		exchange *= math.Ceil(math.Log2(float64(nodes))-5) + 1
	}
	exchanges := 2 * float64(nodes*(len(message)+recordBytes)) / exchange
	t.SentBytesPerSecond = min(perSecond*copies*float64(len(message)), t.BoundBytesPerSecond) + probes + exchanges
	said, err := json.Marshal(load)
	if err != nil {
		return GossipTraffic{}
	}
	t.LeaseBytesPerSecond = float64(nodes) * float64(len(said)+callBytes) / leaseRenew.Seconds()
	return t
}
