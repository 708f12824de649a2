package main

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/talkd/talkd/node/config"
)

// --advertise moves what other nodes and media need off loopback, keeps the
// ports, and touches neither what the operator set nor the public listeners.
func TestAdvertise(t *testing.T) {
	for _, tt := range []struct{ ip, host string }{{"192.0.2.7", "192.0.2.7"}, {"2001:db8::7", "[2001:db8::7]"}} {
		c := config.Default()
		c.Cluster.GossipListen = "198.51.100.1:9000"
		if err := advertiseIP(&c, tt.ip); err != nil {
			t.Fatal(err)
		}
		got := []string{c.HTTP.Listen, c.Admin.Listen, c.Cluster.Listen, c.Cluster.GossipListen, c.Media.Listen, c.Relay.Listen}
		want := []string{"127.0.0.1:8080", "127.0.0.1:8081", tt.host + ":8082", "198.51.100.1:9000", tt.host + ":8084", tt.host + ":8085"}
		if !slices.Equal(got, want) || !slices.Equal(c.Media.Advertise, []string{tt.ip}) {
			t.Errorf("%s: %v, %v", tt.ip, got, c.Media.Advertise)
		}
	}
	for _, bad := range []string{"", "example.org", "::", "0.0.0.0", "192.0.2.7:80", "192.0.2.0/24"} {
		c := config.Default()
		if err := advertiseIP(&c, bad); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What is printed says what to put in; a node that only its own machine can
// reach says so.
func TestJoinCommandsArePrinted(t *testing.T) {
	const head = "Start the other nodes within an hour, each with its own command; put the address of its machine for IP:\n"
	for _, tt := range []struct {
		advertise string
		commands  []string
		want      string
	}{
		{"192.0.2.7:8082", []string{"talkd serve a", "talkd serve b"}, head + "  talkd serve a\n  talkd serve b\n"},
		{"127.0.0.1:8082", []string{"talkd serve a"},
			"Other machines cannot reach this node at 127.0.0.1:8082: start it with --advertise and the address of this machine.\n" + head + "  talkd serve a\n"},
		{"127.0.0.1:8082", nil, ""},
	} {
		var out bytes.Buffer
		if printJoin(&out, tt.advertise, tt.commands); out.String() != tt.want {
			t.Errorf("%s: %q, want %q", tt.advertise, out.String(), tt.want)
		}
	}
}

func TestLogger(t *testing.T) {
	for _, tt := range []struct {
		c           config.Log
		shown, json bool
	}{
		{config.Log{Level: "debug", Format: "text"}, true, false},
		{config.Log{Level: "info", Format: "json"}, true, true},
		{config.Log{Level: "error", Format: "text"}, false, false},
	} {
		var out bytes.Buffer
		newLogger(&out, tt.c).Info("hello", slog.String("node", "n1"))
		if (out.Len() > 0) != tt.shown || strings.HasPrefix(out.String(), "{") != tt.json {
			t.Errorf("%+v: %s", tt.c, out.String())
		}
	}
}
