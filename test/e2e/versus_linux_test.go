package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// contender is a server, or the nodes of a cluster, and those who come to it.
type contender struct {
	*talkers
	nodes []node
	peer  bool // another signaling server, which may lose messages
}

// hear waits until all have heard n messages; of a peer until nothing comes any more.
func (c contender) hear(n int) heardAll {
	c.t.Helper()
	if c.peer {
		return c.awaitLull(n)
	}
	return c.await(n, time.Minute)
}

// startPeer runs the other server until the test ends.
func startPeer(t *testing.T) node {
	t.Helper()
	words := strings.Fields(*signalingPeerRun)
	if len(words) == 0 {
		t.Fatal("-signaling.peer wants -signaling.peer-run")
	}
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	output := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // it is killed then
		if t.Failed() {
			t.Logf("the peer said\n%s", output.Bytes()[max(0, output.Len()-4096):])
		}
	})
	eventually(t, 10*time.Second, "the peer to listen", func() (bool, string) {
		resp, err := http.Get(*signalingPeer + "/api/v1/welcome") //nolint:noctx // of a test
		if err != nil {
			return false, err.Error()
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
	n := node{}
	n.Node, n.HTTP, n.PID = "peer", *signalingPeer, cmd.Process.Pid
	return n
}

// versus has what was measured of talkd and of a peer.
type versus struct {
	rows []row // in the order of the first time
	of   map[row]*[2][]float64
}

// row is what was measured, and of what.
type row struct{ of, what string }

func newVersus() *versus { return &versus{of: make(map[row]*[2][]float64)} }

func (v *versus) add(peer bool, r row, value float64) {
	sides, ok := v.of[r]
	if !ok {
		sides = new([2][]float64)
		v.of[r] = sides
		v.rows = append(v.rows, r)
	}
	side := 0
	if peer {
		side = 1
	}
	sides[side] = append(sides[side], value)
}

func (v *versus) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) } // a Builder takes everything
	of := ""
	for _, r := range v.rows {
		if of != r.of {
			of = r.of
			line("%s\ttalkd\tpeer\ttalkd/peer\n", of)
		}
		switch ours, theirs := median(v.of[r][0]), median(v.of[r][1]); {
		case len(v.of[r][1]) == 0:
			line("  %s\t%.2f\t\t\n", r.what, ours)
		case theirs == 0:
			line("  %s\t%.2f\t0\t\n", r.what, ours)
		default:
			line("  %s\t%.2f\t%.2f\t%.2f\n", r.what, ours, theirs, ours/theirs)
		}
	}
	_ = w.Flush()
	return b.String()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
