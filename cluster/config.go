package cluster

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

// Config is this node's part in the cluster.
type Config struct {
	DataDir string // holds identity and Raft log; made with 0700
	NodeID  store.NodeID

	ClusterListen    string // TCP, Raft and RPC
	ClusterAdvertise string // default: ClusterListen
	GossipListen     string // UDP and TCP
	GossipAdvertise  string // default: GossipListen

	// Join are cluster addresses of nodes to join; none makes the first node of
	// a new cluster. A data directory with an identity needs neither.
	Join      []string
	JoinToken string
	// Expect is how many nodes the operator plans; see Cluster.FirstTokens.
	Expect int
	// Voters is how many servers vote at most, 3 or 5; 0: 5. All nodes should
	// say the same: the leader's word counts.
	Voters int

	// What the others are told of this node.
	Region    string
	Roles     []string // none means all
	PublicURL string
	RelayAddr string
	Version   string

	// Prefer names nodes where a room's participants are. The leader asks it
	// when the room's home has died; nil: it does not know.
	Prefer func(store.RoomID) []store.NodeID
}

// Deps is what the cluster needs of others.
type Deps struct {
	State      *store.State // of a server; nil on any other node
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Load       func() Load           // asked once a second; nil: none

	Network Network // nil: the machine's
}

// maxExpect and maxJoin bound what an operator can mean.
const (
	maxExpect = 64
	maxJoin   = 64
)

// Validate says what is wrong, and what would be right.
func (c *Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	if c.DataDir == "" {
		return bad("no data directory")
	}
	if _, err := store.ParseNodeID(string(c.NodeID)); err != nil {
		return bad("node id: %v", err)
	}
	for name, addr := range map[string]string{"cluster": c.ClusterListen, "gossip": c.GossipListen} {
		if err := checkAddr(addr); err != nil {
			return bad("%s listen address: %v", name, err)
		}
	}
	for name, addr := range map[string]string{"cluster": c.ClusterAdvertise, "gossip": c.GossipAdvertise, "relay": c.RelayAddr} {
		if addr == "" {
			continue
		}
		if err := checkAddr(addr); err != nil {
			return bad("%s address to advertise: %v", name, err)
		}
		if host, port, _ := net.SplitHostPort(addr); unspecified(host) || port == "0" {
			return bad("%s address to advertise: %q is none that other nodes can reach", name, addr)
		}
	}
	if len(c.Join) > maxJoin {
		return bad("%d addresses to join, at most %d are of use", len(c.Join), maxJoin)
	}
	for _, addr := range c.Join {
		if err := checkAddr(addr); err != nil {
			return bad("address to join: %v", err)
		}
	}
	if c.JoinToken != "" {
		if _, err := parseToken(c.JoinToken); err != nil {
			return bad("join token: %v", err)
		}
	}
	if c.Expect < 0 || c.Expect > maxExpect {
		return bad("expect: %d is not between 0 and %d", c.Expect, maxExpect)
	}
	if c.Voters != 0 && c.Voters != minVoters && c.Voters != defaultVoters {
		return bad("voters: %d is neither %d nor %d", c.Voters, minVoters, defaultVoters)
	}
	// Whether the record as a whole is valid is known when the ports are.
	record := store.Node{
		ID: c.NodeID, PublicURL: c.PublicURL, RelayAddr: c.RelayAddr, Region: c.Region, Version: c.Version,
		Roles: c.Roles, Commands: store.CommandVersion,
	}
	if err := record.Validate(); err != nil {
		return bad("%v", err)
	}
	return nil
}

// server tells whether this node holds the replicated state.
func (c *Config) server() bool { return (store.Node{Roles: c.Roles}).Server() }

// voters is how many servers vote at most.
func (c *Config) voters() int {
	if c.Voters == 0 {
		return defaultVoters
	}
	return c.Voters
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port number", addr)
	}
	return nil
}

// unspecified tells whether a host is a wildcard.
func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
