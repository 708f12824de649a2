package e2e

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"os/exec"
	"testing"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/load/bench"
)

// TestBench: talkd bench brings people to a cluster, whose media are as much as
// the formula says, and takes them away again. How much of it is late does not
// count here.
func TestBench(t *testing.T) {
	c := startCluster(t, 2)
	account := c.user + ":" + c.password
	for name, tt := range map[string]struct {
		account string
		args    []string
		streams int
		relayed float64 // Mbit/s of payloads and what is around them
	}{
		// Three people in turn at two nodes: each stream goes to the other node once.
		"spread": {account, []string{"meetings", "--meetings", "1", "--participants", "3", "--spread"}, 12, 3},
		// At home nothing is relayed; a voice alone and a screen are there, too.
		"home": {account, []string{"webinar", "--participants", "3", "--screen", "--microphones"}, 10, 0},
		// Nor does it take an account.
		"without an account, spread": {"", []string{"meetings", "--meetings", "1", "--participants", "3", "--spread"}, 12, 3},
		"without an account, home":   {"", []string{"webinar", "--participants", "3", "--screen", "--microphones"}, 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			steps, result := runBench(t, c, tt.account, tt.args...)
			if len(steps) != 1 || result.Carried != result.Target || result.Carried == 0 {
				t.Fatalf("%+v, %+v", steps, result)
			}
			s := steps[0]
			if s.People != 3 || s.Streams != tt.streams || s.Lost > 0.01 || s.Packets < 100 || s.CPU <= 0 || s.Memory <= 0 {
				t.Errorf("%+v", s)
			}
			// On a busy machine senders are behind at the end of a window: what came
			// for what was sent says more than how much that was.
			if !about(s.In, s.PlanIn) || !about(s.Out, s.PlanOut) || math.Abs(s.Out/s.In*s.PlanIn/s.PlanOut-1) > 0.15 ||
				tt.relayed == 0 && s.Relay > 50e3 || tt.relayed > 0 && !about(s.Relay/1e6, tt.relayed) {
				t.Errorf("in %.2f of %.2f, out %.2f of %.2f, between the nodes %.2f Mbit/s", s.In/1e6, s.PlanIn/1e6, s.Out/1e6, s.PlanOut/1e6, s.Relay/1e6)
			}
		})
	}
	t.Run("peer to peer", func(t *testing.T) {
		lines := talkdBench(t, c, account, "team", "--participants", "2", "--peer-to-peer")
		var got bench.Comparison
		if len(lines) != 1 || json.Unmarshal(lines[0], &got) != nil || !about(got.Up, 1e6) || !about(got.Down, 1e6) || !about(got.PeerUp, 1e6) {
			t.Errorf("%s", lines)
		}
	})
	token, err := apitest.LogIn(t.Context(), c.nodes[0].HTTP, c.user, c.password)
	if err != nil {
		t.Fatal(err)
	}
	var left []json.RawMessage
	if err := apitest.Talk(t.Context(), http.MethodGet, c.nodes[0].HTTP, "/spreed/api/v4/room", token, nil, &left); err != nil || len(left) > 0 {
		t.Errorf("%d conversations are left, %v", len(left), err)
	}
}

// about tells whether a rate is what it should be, measured for a second on a
// machine that may be busy. Half or twice as much is not.
func about(got, want float64) bool { return got > 0.6*want && got < 1.3*want }

// runBench measures one size or more.
func runBench(t *testing.T, c *cluster, account string, args ...string) (steps []bench.Step, result bench.Result) {
	t.Helper()
	lines := talkdBench(t, c, account, args...)
	for i, line := range lines {
		var s bench.Step
		into := any(&s)
		if i == len(lines)-1 {
			into = &result
		}
		if err := json.Unmarshal(line, into); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if i < len(lines)-1 {
			steps = append(steps, s)
		}
	}
	return steps, result
}

// talkdBench runs talkd bench for windows of a second, and returns the lines
// that it prints.
func talkdBench(t *testing.T, c *cluster, account string, args ...string) [][]byte {
	t.Helper()
	other := c.nodes[1]
	cmd := exec.CommandContext(t.Context(), talkd, append([]string{"bench"}, append(args,
		"--admin", c.nodes[0].Admin, "--node", other.Admin+"="+other.Token, "--json",
		"--settle", "0s", "--window", "1s", "--max-delay", "1h", "--max-loss", "1")...)...)
	cmd.Env = append(cmd.Environ(), "TALKD_TOKEN="+c.nodes[0].Token, "TALKD_BENCH_USER="+account)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return bytes.Split(bytes.TrimSpace(out), []byte("\n"))
}
