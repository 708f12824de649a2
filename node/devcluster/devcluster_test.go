package devcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/node/config"
)

// options of a cluster on ports that are free now.
func options(t *testing.T, nodes int) Options {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Exe: exe, Nodes: nodes, Dir: t.TempDir(), Embedded: true, Logger: slog.New(slog.DiscardHandler)}
	for range 100 {
		o.BasePort = 20_000 + 10*rand.IntN(1200) // below the ports of outgoing connections
		if o.portsFree() == nil {
			return o
		}
	}
	t.Fatal("no free ports")
	return o
}

// lab is a cluster that runs until its context ends; what it told is in started and ready.
type lab struct {
	started []Started
	ready   *Ready
	err     error
}

// run returns when the cluster has stopped; whenReady is called in between.
func run(t *testing.T, o Options, whenReady func(*lab)) *lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	defer http.DefaultClient.CloseIdleConnections()
	c := new(lab)
	c.err = Run(ctx, o, func(s Started) { c.started = append(c.started, s) }, func(r Ready) {
		c.ready = &r
		if whenReady != nil {
			whenReady(c)
		}
		cancel()
	})
	return c
}

// gone tells whether no process has this id any more.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestRun(t *testing.T) {
	o := options(t, 3)
	o.User, o.Password = "zoe", "correct horse"
	o.Backends = []string{"https://cloud.example=0123456789abcdef=="}
	c := run(t, o, func(c *lab) {
		if len(c.started) != 3 {
			t.Fatalf("%d nodes are told", len(c.started))
		}
		for i, s := range c.started {
			if s.Node != fmt.Sprintf("n%d", i+1) || gone(s.PID) || s.Token != operateToken ||
				s.HTTP != "http://"+o.addr(i, portHTTP) || s.Admin != "http://"+o.addr(i, portAdmin) {
				t.Errorf("node %d: %+v", i, s)
			}
			// A command line can be read by everybody on the machine.
			if !slices.Equal(s.Argv, []string{o.Exe, "serve", "--config", filepath.Join(o.Dir, s.Node, "talkd.yaml")}) {
				t.Errorf("command line %q", s.Argv)
			}
		}
	})
	if c.err != nil {
		t.Fatal(c.err)
	}
	if want := (Ready{Ready: true, Leader: "n1", User: "zoe", Password: "correct horse"}); c.ready == nil || *c.ready != want {
		t.Errorf("ready: %+v", c.ready)
	}
	for _, s := range c.started {
		if !gone(s.PID) {
			t.Errorf("%s still runs", s.Node)
		}
		if b, err := os.ReadFile(filepath.Join(o.Dir, s.Node, "talkd.log")); err != nil || !strings.Contains(string(b), "stopped") {
			t.Errorf("%s was not stopped in order: %q, %v", s.Node, b, err)
		}
	}
	checkFiles(t, o)
}

// checkFiles looks at what the nodes were given.
func checkFiles(t *testing.T, o Options) {
	t.Helper()
	for k := range o.Nodes {
		dir := filepath.Join(o.Dir, fmt.Sprintf("n%d", k+1))
		c, err := config.Load(filepath.Join(dir, "talkd.yaml"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Node.Dev || c.Node.Data != filepath.Join(dir, "data") || !c.Signaling.Embedded {
			t.Errorf("%+v", c.Node)
		}
		for i, addr := range []string{c.HTTP.Listen, c.Admin.Listen, c.Cluster.Listen, c.Cluster.GossipListen, c.Media.Listen, c.Relay.Listen} {
			if addr != o.addr(k, i) {
				t.Errorf("address %d of node %d: %s", i, k, addr)
			}
		}
		if b := c.Signaling.Backends; len(b) != 1 || b[0].URL != "https://cloud.example" || b[0].Secret != "0123456789abcdef==" {
			t.Errorf("%d backends, or another secret", len(b))
		}
		if c.Signaling.InternalSecret != o.Internal {
			t.Errorf("node %d has another internal secret", k)
		}
		if first := k == 0; (len(c.Cluster.Join) == 0) != first || (c.Accounts.InitUserFile != "") != first {
			t.Errorf("node %d: join %v, init user %q", k, c.Cluster.Join, c.Accounts.InitUserFile)
		}
		if err := c.Complete(); err != nil {
			t.Fatal(err)
		}
		if k > 0 && c.Cluster.JoinToken != fmt.Sprintf("tj1_%d", k) {
			t.Errorf("node %d joins with %q", k, c.Cluster.JoinToken)
		}
		if k == 0 && c.Accounts.InitUser != "zoe:correct horse" {
			t.Error("another demo account")
		}
		err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s is open to others: %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// The second start of a cluster needs no new tokens.
func TestRunAgain(t *testing.T) {
	o := options(t, 2)
	token := filepath.Join(o.Dir, "n2", "join.token")
	if c := run(t, o, nil); c.err != nil {
		t.Fatal(c.err)
	}
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	if c := run(t, o, nil); c.err != nil {
		t.Fatal(c.err)
	}
	if _, err := os.Stat(token); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a node that has joined got another token: %v", err)
	}
}

// A node that was killed from outside leaves the others and the end as they
// are.
func TestKilledNode(t *testing.T) {
	o := options(t, 2)
	c := run(t, o, func(c *lab) {
		if err := syscall.Kill(c.started[1].PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	if c.err != nil || !gone(c.started[0].PID) || !gone(c.started[1].PID) {
		t.Errorf("%v, or processes are left", c.err)
	}
}

// Nodes that ignore SIGTERM are killed, all of them.
func TestStubbornNodes(t *testing.T) {
	o := options(t, 2)
	o.Config = configFile(t, o, stubborn)
	c := run(t, o, nil)
	if c.err != nil || len(c.started) != 2 || !gone(c.started[0].PID) || !gone(c.started[1].PID) {
		t.Errorf("%v, or processes are left", c.err)
	}
}

func configFile(t *testing.T, o Options, region string) string {
	t.Helper()
	path := filepath.Join(o.Dir, "common.yaml")
	if err := os.WriteFile(path, []byte("node: {region: "+region+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The error of a node that does not start holds the end of its log.
func TestBrokenNode(t *testing.T) {
	o := options(t, 2)
	o.Config = configFile(t, o, broken)
	c := run(t, o, nil)
	if c.err == nil || !strings.Contains(c.err.Error(), "broken on purpose") || len(c.started) != 0 || c.ready != nil {
		t.Errorf("%v, started %+v", c.err, c.started)
	}
}

func TestTemporaryDirectory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	o := options(t, 1)
	o.Dir = ""
	if c := run(t, o, nil); c.err != nil {
		t.Fatal(c.err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestBadOptions(t *testing.T) {
	busy := func(network string) func(*testing.T, *Options) {
		return func(t *testing.T, o *Options) {
			if network == "udp" {
				c, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", o.addr(1, portRelay))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				return
			}
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", o.addr(1, portCluster))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
	}
	for name, tt := range map[string]struct {
		spoil func(*testing.T, *Options)
		want  error // nil: any
		says  string
	}{
		"no nodes":            {func(_ *testing.T, o *Options) { o.Nodes = 0 }, nil, "between 1 and"},
		"too many nodes":      {func(_ *testing.T, o *Options) { o.Nodes = MaxNodes + 1 }, nil, "between 1 and"},
		"no port":             {func(_ *testing.T, o *Options) { o.BasePort = 0 }, nil, "--base-port"},
		"ports beyond all":    {func(_ *testing.T, o *Options) { o.BasePort = 65_530 }, nil, "--base-port"},
		"a busy TCP port":     {busy("tcp"), ErrPort, "--base-port"},
		"a busy UDP port":     {busy("udp"), ErrPort, "udp"},
		"no program":          {func(_ *testing.T, o *Options) { o.Exe = filepath.Join(o.Dir, "none") }, os.ErrNotExist, ""},
		"a missing config":    {func(_ *testing.T, o *Options) { o.Config = "none.yaml" }, os.ErrNotExist, "none.yaml"},
		"a backend, no value": {func(_ *testing.T, o *Options) { o.Backends = []string{"https://x"} }, nil, "URL=SECRET"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, 2)
			tt.spoil(t, &o)
			c := run(t, o, nil)
			if c.err == nil || tt.want != nil && !errors.Is(c.err, tt.want) || !strings.Contains(c.err.Error(), tt.says) {
				t.Errorf("%v", c.err)
			}
			if len(c.started) != 0 || c.ready != nil {
				t.Error("it tells of nodes")
			}
		})
	}
}
