// Package devcluster runs a whole cluster on the loopback of one machine, each
// node an operating-system process of its own, so that one can be killed.
//
//	dir/n1/talkd.yaml  ─ talkd serve --config …  first node, makes the cluster
//	dir/n2/talkd.yaml  ─ talkd serve --config …  joins with dir/n2/join.token
//	dir/n3/…
//
// All state and every secret lie below dir (0600); a command line carries none,
// so a killed node is started again by its argv, unchanged.
package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/talkd/talkd/node/config"
)

// Ports of node k, counted from BasePort + 10·k.
const (
	portHTTP = iota
	portAdmin
	portCluster
	portGossip
	portMedia
	portRelay
	portsPerNode = 10
)

// Limits of time: how long a node may take to become ready, and to stop after
// SIGTERM before it is killed.
const (
	readyTimeout = 60 * time.Second
	stopTimeout  = 10 * time.Second
	// hurryAfter is when nodes that still wait for each other are told that there
	// is nothing to wait for, by a second SIGTERM.
	hurryAfter = time.Second
)

// MaxNodes keeps the ports of the last node below 65536 and the machine usable.
const MaxNodes = 16

// Options of a development cluster.
type Options struct {
	Exe      string   // the talkd binary
	Nodes    int      // 1 to MaxNodes
	Dir      string   // state; empty: a temporary directory, removed on exit
	BasePort int      // first port of the first node
	User     string   // demo account, made at the first start
	Password string   //
	Backends []string // URL=SECRET, split at the first "="
	Internal string   // secret of internal clients; empty: there are none
	Embedded bool     // serve the embedded backend
	Config   string   // a configuration file that all nodes start from
	Logger   *slog.Logger
}

// Started is what is told about a node that is ready.
type Started struct {
	Node  string   `json:"node"`
	PID   int      `json:"pid"`
	Argv  []string `json:"argv"`
	HTTP  string   `json:"http"`
	Admin string   `json:"admin"`
	Token string   `json:"token"`
}

// Ready is told once, when all nodes are ready.
type Ready struct {
	Ready    bool   `json:"ready"`
	Leader   string `json:"leader"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// ErrPort says that a port the cluster needs is taken.
var ErrPort = errors.New("port in use")

// Run starts the nodes one after the other, reports each, and stops them all
// when ctx ends. It owns one goroutine per process, which waits for its end.
func Run(ctx context.Context, o Options, started func(Started), ready func(Ready)) error {
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return fmt.Errorf("%d nodes: between 1 and %d", o.Nodes, MaxNodes)
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "talkd-dev-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.Dir = dir
	}
	if err := o.portsFree(); err != nil {
		return err
	}
	c := &supervisor{log: o.Logger}
	defer c.stop()

	var first *process
	for k := range o.Nodes {
		p, err := o.prepare(k)
		if err != nil {
			return err
		}
		if first != nil {
			if err := o.invite(ctx, first, p); err != nil {
				return err
			}
		}
		if err := c.start(p); err != nil {
			return err
		}
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
		if first == nil {
			first = p
		}
		token, err := p.token()
		if err != nil {
			return err
		}
		started(Started{Node: p.id, PID: p.cmd.Process.Pid, Argv: p.cmd.Args, HTTP: p.http, Admin: p.admin, Token: token})
	}
	leader, err := first.awaitVoters(ctx, o.Nodes)
	if err != nil {
		return err
	}
	ready(Ready{Ready: true, Leader: leader, User: o.User, Password: o.Password})
	<-ctx.Done()
	return nil
}

func (o Options) addr(k, port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(o.BasePort+portsPerNode*k+port))
}

func (o Options) portsFree() error {
	if last := o.BasePort + portsPerNode*o.Nodes; o.BasePort < 1 || last > 65535 {
		return fmt.Errorf("--base-port %d: the ports up to %d do not exist", o.BasePort, last)
	}
	for k := range o.Nodes {
		for _, port := range []int{portHTTP, portAdmin, portCluster, portGossip, portMedia} {
			l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", o.addr(k, port))
			if err != nil {
				return fmt.Errorf("%w: %s (another one: --base-port)", ErrPort, o.addr(k, port))
			}
			l.Close()
		}
		for _, port := range []int{portGossip, portMedia, portRelay} {
			l, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", o.addr(k, port))
			if err != nil {
				return fmt.Errorf("%w: %s/udp (another one: --base-port)", ErrPort, o.addr(k, port))
			}
			l.Close()
		}
	}
	return nil
}

// prepare writes the configuration of node k. It is written at each start of
// the cluster; what the node keeps is in its data directory.
func (o Options) prepare(k int) (*process, error) {
	id := "n" + strconv.Itoa(k+1)
	dir := filepath.Join(o.Dir, id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c, err := config.Load(o.Config, nil)
	if err != nil {
		return nil, err
	}
	c.Node.ID, c.Node.Data, c.Node.Dev = id, filepath.Join(dir, "data"), true
	c.HTTP.Listen, c.HTTP.PublicURL = o.addr(k, portHTTP), "http://"+o.addr(k, portHTTP)
	c.Admin.Listen = o.addr(k, portAdmin)
	c.Cluster.Listen, c.Cluster.Advertise = o.addr(k, portCluster), ""
	c.Cluster.GossipListen, c.Cluster.GossipAdvertise = o.addr(k, portGossip), ""
	c.Media.Listen = o.addr(k, portMedia)
	c.Relay.Listen, c.Relay.Advertise = o.addr(k, portRelay), ""
	c.Signaling.Embedded = o.Embedded
	for _, b := range o.Backends {
		url, secret, ok := strings.Cut(b, "=")
		if !ok {
			return nil, fmt.Errorf("--backend %q: URL=SECRET wanted", url)
		}
		c.Signaling.Backends = append(c.Signaling.Backends, config.Backend{URL: url, Secret: secret})
	}
	if o.Internal != "" {
		c.Signaling.InternalSecret = o.Internal
	}
	if k == 0 && o.User != "" {
		c.Accounts.InitUserFile = filepath.Join(dir, "init-user")
		if err := os.WriteFile(c.Accounts.InitUserFile, []byte(o.User+":"+o.Password+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if k > 0 {
		c.Cluster.Join = []string{o.addr(0, portCluster)}
		c.Cluster.JoinTokenFile = filepath.Join(dir, "join.token")
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "talkd.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return &process{
		id: id, dir: dir, http: c.HTTP.PublicURL, admin: "http://" + c.Admin.Listen,
		cluster: c.Cluster.Listen, joinTokenFile: c.Cluster.JoinTokenFile,
		cmd:    exec.Command(o.Exe, "serve", "--config", file), //nolint:noctx // stopped by SIGTERM in stop, not by a context's SIGKILL
		exited: make(chan struct{}),
	}, nil
}

// supervisor holds the running processes. Only Run's goroutine touches it.
type supervisor struct {
	log       *slog.Logger
	processes []*process
	wg        sync.WaitGroup
}

func (s *supervisor) start(p *process) error {
	out, err := os.OpenFile(filepath.Join(p.dir, "talkd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	// A process group of its own: Ctrl-C in the terminal reaches us alone, and
	// we stop the nodes in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		out.Close()
		return err
	}
	s.processes = append(s.processes, p)
	s.wg.Go(func() {
		defer out.Close()
		_ = p.cmd.Wait() // ProcessState says how it ended
		close(p.exited)
		s.log.Info("node process ended", "node", p.id, "state", p.cmd.ProcessState.String())
	})
	return nil
}

// stop ends the nodes, last started first, all within stopTimeout.
func (s *supervisor) stop() {
	late, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	s.terminate()
	hurry := time.NewTimer(hurryAfter)
	defer hurry.Stop()
	for _, p := range s.processes {
		for running := true; running; {
			select {
			case <-p.exited:
				running = false
			case <-hurry.C:
				s.terminate()
			case <-late.Done():
				s.log.Warn("node does not stop, killed", "node", p.id)
				_ = p.cmd.Process.Kill()
				running = false
			}
		}
	}
	s.wg.Wait()
}

func (s *supervisor) terminate() {
	for i := len(s.processes) - 1; i >= 0; i-- {
		_ = s.processes[i].cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	}
}

// tail is the end of a node's log, for the error of a node that did not start.
func (p *process) tail() string {
	f, err := os.Open(filepath.Join(p.dir, "talkd.log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2048 {
		_, _ = f.Seek(-2048, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return strings.TrimSpace(string(b))
}
