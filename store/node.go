package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Roles of nodes. A node without any role named has all of them.
const (
	RoleServer    = "server"    // holds the replicated state
	RoleSignaling = "signaling" // holds the sockets of clients
	RoleMedia     = "media"     // forwards what clients send
)

// Limits of a node's record.
const (
	MaxURL     = 512
	MaxAddress = 262 // a DNS name of 253 octets, brackets or colon, a port
	MaxLabel   = 64  // region, version, name of a role
	MaxRoles   = 16
)

// Node is what a node wrote about itself when it joined.
type Node struct {
	ID          NodeID    `json:"id"`
	PublicURL   string    `json:"public_url"`
	ClusterAddr string    `json:"cluster_addr"` // Raft and RPC, TCP
	GossipAddr  string    `json:"gossip_addr"`
	RelayAddr   string    `json:"relay_addr"` // media between nodes, UDP
	Region      string    `json:"region,omitempty"`
	Version     string    `json:"version"`         // of the binary
	Roles       []string  `json:"roles,omitempty"` // none means all
	Commands    uint16    `json:"commands"`        // highest command version it applies
	Joined      time.Time `json:"joined"`          // set by the first put_node, kept by later ones
	// Key is the SHA-256 of the public key in the node's certificate, in
	// hexadecimal: another key is another node.
	Key string `json:"key,omitempty"`
	// Pending is a node that was let in and has not come yet: the answer may
	// have been lost.
	Pending bool `json:"pending,omitempty"`
}

// Server says whether the node holds the replicated state.
func (n Node) Server() bool { return n.Has(RoleServer) }

// Has says whether the node has a role.
func (n Node) Has(role string) bool { return len(n.Roles) == 0 || slices.Contains(n.Roles, role) }

// Validate checks the record against the limits.
func (n Node) Validate() error {
	if _, err := ParseNodeID(string(n.ID)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := checkURL("public URL", n.PublicURL); err != nil {
		return err
	}
	for _, f := range []struct {
		name, value string
		max         int
	}{
		{"cluster address", n.ClusterAddr, MaxAddress},
		{"gossip address", n.GossipAddr, MaxAddress},
		{"relay address", n.RelayAddr, MaxAddress},
		{"region", n.Region, MaxLabel},
		{"version", n.Version, MaxLabel},
	} {
		if err := checkText(f.name, f.value, 0, f.max); err != nil {
			return err
		}
	}
	if n.Key != "" {
		if err := checkText("hash of the key", n.Key, hex.EncodedLen(sha256.Size), hex.EncodedLen(sha256.Size)); err != nil {
			return err
		}
	}
	if len(n.Roles) > MaxRoles {
		return fmt.Errorf("%w: %d roles", ErrInvalid, len(n.Roles))
	}
	for _, r := range n.Roles {
		if err := checkText("role", r, 1, MaxLabel); err != nil {
			return err
		}
	}
	if n.Commands == 0 {
		return fmt.Errorf("%w: node applies no command version", ErrInvalid)
	}
	return nil
}

// clone keeps callers and state from sharing the slice of roles.
func (n Node) clone() Node {
	n.Roles = slices.Clone(n.Roles)
	return n
}

// checkURL allows what a client may be sent to, or nothing at all.
func checkURL(name, s string) error {
	if s == "" {
		return nil
	}
	if err := checkText(name, s, 1, MaxURL); err != nil {
		return err
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%w: %s is not an http or https URL", ErrInvalid, name)
	}
	return nil
}
