package node

import (
	"testing"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/config"
)

// The first start makes two tokens, later ones read them.
func TestAdminTokens(t *testing.T) {
	dir := t.TempDir()
	first, err := adminTokens(dir)
	if err != nil {
		t.Fatal(err)
	}
	if first.OperateToken == "" || first.ViewToken == "" || first.OperateToken == first.ViewToken {
		t.Errorf("two tokens wanted: %q, %q", first.OperateToken, first.ViewToken)
	}
	if again, err := adminTokens(dir); err != nil || again != first {
		t.Errorf("other tokens at the second start, %v", err)
	}
}

// Nobody is sent to a node that has reached a limit it told of.
func TestFull(t *testing.T) {
	for _, tt := range []struct {
		load cluster.Load
		want bool
	}{
		{cluster.Load{Sessions: 1e6, EgressBps: 1e12}, false},
		{cluster.Load{Sessions: 9, MaxSessions: 10, EgressBps: 9e8, MaxEgressBps: 1e9}, false},
		{cluster.Load{Sessions: 10, MaxSessions: 10}, true},
		{cluster.Load{EgressBps: 1e9, MaxEgressBps: 1e9}, true},
	} {
		if got := tt.load.Full(); got != tt.want {
			t.Errorf("%+v: full is %v", tt.load, got)
		}
	}
}

// The command lacks only what this node cannot know: the other machine.
func TestJoinCommand(t *testing.T) {
	var n Node
	n.cfg.HTTP = config.HTTP{Listen: "192.0.2.1:8443", PublicURL: "https://n1.example.org"}
	n.cfg.Cluster.Advertise = "192.0.2.1:8082"
	const want = "talkd serve --advertise IP --http IP:8443 --join 192.0.2.1:8082 --join-token tj1_x"
	if got := n.joinCommand("tj1_x"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
