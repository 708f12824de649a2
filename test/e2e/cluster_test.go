// Package e2e holds the end-to-end tests: real processes, real browsers, real
// packets. They are few; what can be tested below is tested there.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/node/devcluster"
)

// talkd is the binary under test, built once by TestMain.
var talkd string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// binaryEnv has the binary when a test runs itself again.
const binaryEnv = "LAB_BINARY"

func testMain(m *testing.M) int {
	if role := os.Getenv(roleEnv); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			return 1
		}
		return 0
	}
	if talkd = os.Getenv(binaryEnv); talkd != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "talkd-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	talkd = filepath.Join(dir, "talkd")
	if err := build(context.Background(), talkd, "dev"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes a binary of a version.
func build(ctx context.Context, path, version string) error {
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "hashicorpmetrics",
		"-ldflags", "-X main.version="+version, "-o", path, "../../cmd/talkd")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("building talkd: %w\n%s", err, out)
	}
	return nil
}

// node is what talkd dev --json tells of a node.
type node = devcluster.Started

// cluster is a running talkd dev.
type cluster struct {
	t        *testing.T
	nodes    []node
	dir      string
	user     string
	password string
}

// startCluster runs talkd dev with n nodes until the test ends.
func startCluster(t *testing.T, n int, args ...string) *cluster {
	t.Helper()
	return startClusterIn(t, nil, n, args...)
}

// configured is a file with that configuration.
func configured(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "talkd.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startClusterIn begins the command with other words.
func startClusterIn(t *testing.T, words []string, n int, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	args = append([]string{talkd, "dev", "--json", "--nodes", strconv.Itoa(n), "--dir", c.dir,
		"--base-port", strconv.Itoa(freePorts(t, 10*n)), "--init-user", "admin:end-to-end"}, args...)
	args = append(words, args...)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			c.logs(stderr.String())
		}
	})
	lines := make(chan []byte)
	go func() {
		defer close(done)
		defer close(lines)
		for s := bufio.NewScanner(stdout); s.Scan(); {
			lines <- bytes.Clone(s.Bytes())
		}
	}()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("talkd dev ended: %s", stderr)
			}
			var v struct {
				devcluster.Started
				devcluster.Ready
			}
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("talkd dev printed %q: %v", line, err)
			}
			if v.Ready.Ready {
				c.user, c.password = v.User, v.Password
				go func() { // keep the pipe empty
					for range lines {
					}
				}()
				return c
			}
			c.nodes = append(c.nodes, v.Started)
		case <-timeout:
			t.Fatalf("talkd dev is not ready: %s", stderr)
		}
	}
}

// logs shows the end of each node's log of a failed test.
func (c *cluster) logs(dev string) {
	c.t.Logf("talkd dev: %s", dev)
	for _, n := range c.nodes {
		b, err := os.ReadFile(filepath.Join(c.dir, n.Node, "talkd.log"))
		if err != nil {
			continue
		}
		c.t.Logf("%s:\n%s", n.Node, b[max(0, len(b)-6000):])
	}
}

// freePorts finds n free ports in a row.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for base := 21000 + os.Getpid()%400*60; base < 60000; base += n {
		free := true
		for p := base; p < base+n && free; p++ {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
			if free = err == nil; free {
				l.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatalf("no %d free ports", n)
	return 0
}

// node finds a node by its id.
func (c *cluster) node(id string) node {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.Node == id {
			return n
		}
	}
	c.t.Fatalf("no node %q", id)
	return node{}
}

// admin asks a node's admin API.
func (c *cluster) admin(n node, path string, v any) {
	c.t.Helper()
	if err := apitest.Ask(c.t.Context(), http.MethodGet, n.Admin+path, n.Token, nil, v); err != nil {
		c.t.Fatalf("%s: %v", path, err)
	}
}

// metric reads one of a node's metrics, "" if there is none.
func (c *cluster) metric(n node, name string) string {
	c.t.Helper()
	text, err := apitest.Fetch(c.t.Context(), http.MethodGet, n.Admin+"/metrics", n.Token, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// conversation makes a public one at a node.
func (c *cluster) conversation(n node, name string) (token string) {
	c.t.Helper()
	return conversation(c.t, n.HTTP, c.user, c.password, name)
}

// conversation logs in at a node and makes a public one there.
func conversation(t *testing.T, base, user, password, name string) string {
	t.Helper()
	login, err := apitest.LogIn(t.Context(), base, user, password)
	if err != nil {
		t.Fatal(err)
	}
	token, err := apitest.Create(t.Context(), base, login, name)
	if err != nil || token == "" {
		t.Fatalf("token of the new conversation: %q, %v", token, err)
	}
	return token
}

// awaitHome waits until a room has a home.
func (c *cluster) awaitHome(token string) (home node) {
	c.t.Helper()
	eventually(c.t, 10*time.Second, "the room has a home", func() (bool, string) {
		var r room
		n := c.nodes[0]
		if err := apitest.Ask(c.t.Context(), http.MethodGet, n.Admin+"/admin/v1/rooms/"+token, n.Token, nil, &r); err != nil {
			return false, err.Error() // before the first has come it is not known
		}
		if r.Home != "" {
			home = c.node(r.Home)
		}
		return r.Home != "", "no home"
	})
	return home
}

// room is what the admin API tells of a room.
type room struct {
	ID    string `json:"id"`
	Home  string `json:"home"`
	Epoch uint64 `json:"epoch"`
	Edges []struct {
		Node                              string
		Sessions, Publishers, Subscribers int
	} `json:"edges"`
	Relays []struct {
		From, To string
		Tracks   int
		Bps      float64
		Lost     uint64
	} `json:"relays"`
}

func (r room) String() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// eventually polls a condition; what is said last names why it did not hold.
func eventually(t *testing.T, within time.Duration, what string, condition func() (ok bool, state string)) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var state string
	for {
		var ok bool
		if ok, state = condition(); ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s; now: %s", within, what, strings.TrimSpace(state))
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-tick.C:
		}
	}
}
