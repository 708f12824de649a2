package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/talkd/talkd/store"
)

func leafConfig() Config {
	return Config{
		DataDir: "data", NodeID: "n1", ClusterListen: "127.0.0.1:7946", GossipListen: "[::1]:0",
		PublicURL: "https://talk.example", Region: "eu", Version: "1.0",
	}
}

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		says   string // empty: it is valid
	}{
		{"minimal", func(c *Config) {
			*c = Config{DataDir: "d", NodeID: "a", ClusterListen: ":0", GossipListen: ":0"}
		}, ""},
		{"usual", func(*Config) {}, ""},
		{"all", func(c *Config) {
			c.ClusterAdvertise, c.GossipAdvertise, c.RelayAddr = "10.0.0.1:1", "n1.example:2", "[fd00::1]:65535"
			c.Join, c.JoinToken, c.Expect = []string{"n2:7946", "10.0.0.2:7946"}, newToken([32]byte{}).text(), 3
			c.Roles = []string{store.RoleServer, store.RoleMedia}
		}, ""},
		{"no server", func(c *Config) { c.Roles = []string{store.RoleMedia} }, ""},
		{"joining with an identity needs no token", func(c *Config) { c.Join = []string{"n2:1"} }, ""},

		{"no directory", func(c *Config) { c.DataDir = "" }, "data directory"},
		{"no node id", func(c *Config) { c.NodeID = "" }, "node id"},
		{"a bad node id", func(c *Config) { c.NodeID = "Node 1" }, "node id"},
		{"no cluster address", func(c *Config) { c.ClusterListen = "" }, "cluster listen"},
		{"no gossip address", func(c *Config) { c.GossipListen = "" }, "gossip listen"},
		{"no port", func(c *Config) { c.ClusterListen = "127.0.0.1" }, "host:port"},
		{"a port that does not exist", func(c *Config) { c.ClusterListen = "127.0.0.1:65536" }, "port"},
		{"a negative port", func(c *Config) { c.GossipListen = "127.0.0.1:-1" }, "port"},
		{"a named port", func(c *Config) { c.GossipListen = "127.0.0.1:http" }, "port"},
		{"advertising every address", func(c *Config) { c.ClusterAdvertise = "0.0.0.0:1" }, "other nodes can reach"},
		{"advertising every address, IPv6", func(c *Config) { c.GossipAdvertise = "[::]:1" }, "other nodes can reach"},
		{"advertising no address", func(c *Config) { c.RelayAddr = ":1" }, "other nodes can reach"},
		{"advertising no port", func(c *Config) { c.RelayAddr = "10.0.0.1:0" }, "other nodes can reach"},
		{"advertising nothing of use", func(c *Config) { c.RelayAddr = "here" }, "relay address"},
		{"a bad address to join", func(c *Config) { c.Join = []string{"n2:1", "n3"} }, "join"},
		{"too many to join", func(c *Config) { c.Join = slices.Repeat([]string{"n2:1"}, maxJoin+1) }, "at most"},
		{"a mistyped token", func(c *Config) { c.JoinToken = "tj1_secret" }, "join token"},
		{"expecting less than none", func(c *Config) { c.Expect = -1 }, "expect"},
		{"expecting too many", func(c *Config) { c.Expect = maxExpect + 1 }, "expect"},
		{"a bad public URL", func(c *Config) { c.PublicURL = "ftp://talk.example" }, "public URL"},
		{"a long region", func(c *Config) { c.Region = strings.Repeat("x", store.MaxLabel+1) }, "region"},
		{"a version with a line break", func(c *Config) { c.Version = "1\n2" }, "version"},
		{"an empty role", func(c *Config) { c.Roles = []string{""} }, "role"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := leafConfig()
			tt.change(&c)
			err := c.Validate()
			if tt.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want something about %q", err, tt.says)
			}
			if c.JoinToken != "" && strings.Contains(err.Error(), c.JoinToken) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}
