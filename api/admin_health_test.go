package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// well is a cluster of n voters that wants nothing.
func well(n int) ClusterView {
	v := ClusterView{Leader: "n1", Quorum: true, Voters: n, VotersAlive: n, FailureTolerance: (n - 1) / 2, Headroom: 1000}
	for i := range n {
		v.Nodes = append(v.Nodes, NodeView{
			ID: fmt.Sprintf("n%d", i+1), Raft: "voter", State: "alive", Version: "1.0", TakesRooms: true, Load: LoadView{Subscribers: 100, Rooms: 2, Sessions: 1},
			Health: &Condition{DiskFreeBytes: 50 << 30, DiskSizeBytes: 100 << 30, CertificateExpires: time.Now().Add(20 * 24 * time.Hour)},
		})
	}
	return v
}

func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		nodes  int
		change func(*ClusterView)
		want   string // the codes
		says   string
	}{
		"one":        {1, func(*ClusterView) {}, "", ""},
		"three":      {3, func(*ClusterView) {}, "", ""},
		"two voters": {2, func(*ClusterView) {}, "quorum_at_risk", "add a third node"},
		"one of three dead": {3, func(v *ClusterView) { v.VotersAlive, v.FailureTolerance, v.Nodes[2].State = 2, 0, "dead" }, "quorum_at_risk node_dead",
			"2 of 3 voters alive: if one more fails, rooms are not placed and nothing is changed. start n3 again"},
		"one of three slow": {3, func(v *ClusterView) { v.FailureTolerance = 0 }, "quorum_at_risk", "does not keep up"},
		"one of five dead":  {5, func(v *ClusterView) { v.VotersAlive, v.FailureTolerance, v.Nodes[2].State = 4, 1, "dead" }, "node_dead", "n3 is dead"},
		"no quorum": {3, func(v *ClusterView) {
			v.Quorum, v.VotersAlive, v.Leader, v.Nodes[0].State, v.Nodes[1].State = false, 1, "", "dead", "dead"
		}, "no_quorum node_dead", "start n1, n2 again"},
		"electing":                    {3, func(v *ClusterView) { v.Quorum, v.Leader = false, "" }, "no_leader", "wait some seconds"},
		"suspect":                     {3, func(v *ClusterView) { v.Nodes[1].State = "suspect" }, "node_suspect", "n2 is suspect"},
		"draining":                    {3, func(v *ClusterView) { v.Nodes[1].State = "draining" }, "node_draining", "n2 is draining: 2 rooms and 1 session left. when nobody"},
		"an upgrade":                  {3, func(v *ClusterView) { v.Nodes[1].Version = "1.1" }, "versions_mixed", "1.0 on n1, n3; 1.1 on n2"},
		"dead and of another version": {5, func(v *ClusterView) { v.Nodes[1].Version, v.Nodes[1].State, v.VotersAlive = "0.9", "dead", 4 }, "node_dead", ""},
		"nobody takes rooms": {3, func(v *ClusterView) {
			v.Headroom, v.Nodes[0].TakesRooms, v.Nodes[1].TakesRooms, v.Nodes[2].TakesRooms = 0, false, false, false
		}, "no_room", "No node takes new rooms"},
		"little room": {3, func(v *ClusterView) { v.Headroom = 50 }, "headroom_low", "Room for 50 more streams only"},
		"a full disk": {3, func(v *ClusterView) { v.Nodes[0].Health.DiskFreeBytes = 100 << 20 }, "disk_low", "n1 has 100 MiB left"},
		"a clock":     {3, func(v *ClusterView) { v.Nodes[2].Health.ClockOffsetS = -0.734 }, "clock_off", "n3 differs by -730ms"},
		"a certificate": {3, func(v *ClusterView) { v.Nodes[2].Health.CertificateExpires = time.Now().Add(time.Hour) }, "certificate_expires",
			"The certificate of n3"},
		"overloaded": {3, func(v *ClusterView) {
			v.Nodes[1].Overload = &Overload{Reason: "cpu", Streams: 40, Paused: 5, Lowered: 10}
		}, "node_overloaded",
			"n2 is overloaded, its processors are busy: of 40 streams of video 5 are paused and 10 worse than wanted, voice goes on."},
		"nobody tells": {3, func(v *ClusterView) {
			for i := range v.Nodes {
				v.Nodes[i].Health = nil
			}
		}, "", ""},
		"many dead": {9, func(v *ClusterView) {
			v.VotersAlive = 9
			for i := range 7 {
				v.Nodes[i].State, v.Nodes[i].Raft = "dead", "client"
			}
		}, "node_dead", "n1, n2, n3, n4, n5 and 2 more are dead"},
	} {
		t.Run(name, func(t *testing.T) {
			v := well(c.nodes)
			c.change(&v)
			var codes, texts []string
			for _, w := range warnings(v) {
				codes, texts = append(codes, w.Code), append(texts, w.Text+" "+w.Do)
				if w.Do == "" || !strings.HasSuffix(w.Text, ".") {
					t.Errorf("%+v", w)
				}
			}
			if got := strings.Join(codes, " "); got != c.want || !slices.ContainsFunc(append(texts, ""), func(s string) bool { return strings.Contains(s, c.says) }) {
				t.Errorf("%s: %q, want %s: %s", got, texts, c.want, c.says)
			}
		})
	}
}
