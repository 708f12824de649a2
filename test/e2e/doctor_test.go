package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/talkd/talkd/doctor"
)

// examine runs talkd doctor against a node: what it found, by check.
func (c *cluster) examine(n node, args ...string) (found map[string][]doctor.Finding, failed bool) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), talkd, append([]string{"doctor", "--json", "--admin", n.Admin, "--token", n.Token}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		c.t.Fatalf("talkd doctor: %v", err)
	}
	var v struct{ Findings []doctor.Finding }
	if err := json.Unmarshal(out, &v); err != nil {
		c.t.Fatalf("talkd doctor: %v: %s", err, out)
	}
	found = make(map[string][]doctor.Finding)
	for _, f := range v.Findings {
		found[f.Check] = append(found[f.Check], f)
	}
	return found, err != nil
}

// TestDoctor: on a cluster that is well everything is green, media between the nodes
// too; a secret that differs is named by each node.
func TestDoctor(t *testing.T) {
	nc, c := startServing(t, 3)
	found, failed := c.examine(c.nodes[0])
	if failed {
		t.Errorf("something failed: %+v", found)
	}
	for check, n := range map[string]int{
		doctor.CheckWebSocket: 3, doctor.CheckNextcloud: 3, doctor.CheckSecret: 3, doctor.CheckClock: 3, doctor.CheckKey: 3, doctor.CheckMedia: 6,
	} {
		if len(found[check]) != n || doctor.Count(found[check], doctor.OK) != n {
			t.Errorf("%s: %+v, want %d that are well", check, found[check], n)
		}
	}

	other := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(other, []byte("another secret, long enough as well"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := c.nodes[2]
	if out, err := exec.CommandContext(t.Context(), talkd, "backend", "add", nc.URL(), "--secret-file", other, "--admin", n.Admin, "--token", n.Token).CombinedOutput(); err != nil {
		t.Fatalf("talkd backend add: %v: %s", err, out)
	}
	found, failed = c.examine(n, "--media=false")
	if !failed || doctor.Count(found[doctor.CheckSecret], doctor.Failed) != 3 || doctor.Count(found[doctor.CheckNextcloud], doctor.OK) != 3 {
		t.Errorf("another secret: %+v", found)
	}
}

// TestDoctorAddress: a node tells clients an address where nobody is. By UDP it finds them
// itself, as here nothing is between the two; by TCP nobody comes to it.
func TestDoctorAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "talkd.yaml")
	if err := os.WriteFile(file, []byte("media:\n  advertise: [127.0.0.99]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCluster(t, 1, "--config", file)
	found, _ := c.examine(c.nodes[0])
	media := found[doctor.CheckMedia]
	if len(media) != 2 || media[0].Result != doctor.Warning || !strings.Contains(media[0].Text, "not by TCP: no connection to 127.0.0.99") || media[1].Result != doctor.OK {
		t.Errorf("media: %+v", media)
	}
}
