package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A lab is three machines and that of the clients: network namespaces on one
// bridge, each with an address of its own.
//
//	hub:  br0 ── n1 10.77.0.1 ── talkd serve
//	       ├──── n2 10.77.0.2 ── talkd serve
//	       ├──── n3 10.77.0.3 ── talkd serve
//	       └──── cl 10.77.0.100 ── this test, run again in there
//
// What comes to a node can be lost by nftables: all of another node, or a
// share. It is lost where it arrives, so that the sender notices nothing.
type lab struct {
	t      *testing.T
	prefix string
	dir    string
	nodes  []*machine
}

// machine is a node of a lab.
type machine struct {
	lab   *lab
	id    string
	ns    string
	ip    string
	bin   string
	data  string
	argv  []string
	proc  *exec.Cmd
	ended chan struct{} // closed when the process has ended

	deaf map[string]bool // nodes from which nothing arrives
	loss int             // percent of all that arrives and is lost
}

const (
	labNet    = "10.77.0."
	labClient = labNet + "100"
	labEnv    = "LAB_PREFIX"
	labUser   = "admin"
	labSecret = "a-password-for-the-lab"
)

// inLab runs f within the namespaces. The test that calls it is run a second
// time, in the one of the clients, and f there.
func inLab(t *testing.T, f func(l *lab)) {
	t.Helper()
	if prefix := os.Getenv(labEnv); prefix != "" {
		l := &lab{t: t, prefix: prefix, dir: t.TempDir()}
		f(l)
		return
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no network namespaces here: %v (apt-get install iproute2 nftables)", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	prefix := fmt.Sprintf("talkd%d-", os.Getpid())
	namespaces := []string{"hub", "cl", "n1", "n2", "n3"}
	if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", prefix+"hub").CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %s", bytes.TrimSpace(out))
	}
	t.Cleanup(func() {
		for _, ns := range namespaces {
			_ = exec.Command("ip", "netns", "del", prefix+ns).Run() //nolint:noctx // the test's context has ended; what is not there need not go
		}
	})
	for _, ns := range namespaces[1:] {
		command(t, "ip", "netns", "add", prefix+ns)
	}
	hub := prefix + "hub"
	command(t, "ip", "-n", hub, "link", "add", "br0", "type", "bridge")
	command(t, "ip", "-n", hub, "link", "set", "br0", "up")
	for i, ns := range namespaces[1:] {
		ip := labClient
		if ns != "cl" {
			ip = labNet + strconv.Itoa(i)
		}
		veth := "v-" + ns
		command(t, "ip", "-n", hub, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", prefix+ns)
		command(t, "ip", "-n", hub, "link", "set", veth, "master", "br0", "up")
		command(t, "ip", "-n", prefix+ns, "addr", "add", ip+"/24", "dev", "eth0")
		command(t, "ip", "-n", prefix+ns, "link", "set", "eth0", "up")
		command(t, "ip", "-n", prefix+ns, "link", "set", "lo", "up")
	}
	again := exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", prefix + "cl", os.Args[0],
		"-test.run", "^" + t.Name() + "$", "-test.v", "-test.count=1"}, labFlags()...)...)
	again.Env = append(os.Environ(), labEnv+"="+prefix, binaryEnv+"="+talkd)
	again.Cancel = func() error { return again.Process.Signal(syscall.SIGINT) }
	again.WaitDelay = 30 * time.Second
	out, err := again.CombinedOutput()
	t.Logf("in the lab:\n%s", out)
	if err != nil {
		t.Errorf("in the lab: %v", err)
	}
}

// labFlags are those of the flags of this run that the test in the lab needs.
func labFlags() []string {
	var flags []string
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(a, "-lab.") || strings.HasPrefix(a, "-test.timeout") {
			flags = append(flags, a)
		}
	}
	return flags
}

func command(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// begin starts a cluster of three by the three commands of the README.
func (l *lab) begin(bin string) {
	l.t.Helper()
	l.nodes = nil
	base, err := os.MkdirTemp(l.dir, "cluster")
	if err != nil {
		l.t.Fatal(err)
	}
	for i := range 3 {
		id := "n" + strconv.Itoa(i+1)
		m := &machine{
			lab: l, id: id, ns: l.prefix + id, ip: labNet + strconv.Itoa(i+1), bin: bin,
			data: filepath.Join(base, id), deaf: make(map[string]bool),
		}
		l.nodes = append(l.nodes, m)
	}
	first := l.nodes[0]
	first.argv = []string{"serve", "--advertise", first.ip, "--http", first.ip + ":8080", "--expect", "3", "--init-user", labUser + ":" + labSecret}
	first.start()
	commands := first.joinCommands()
	for i, m := range l.nodes[1:] {
		m.argv = strings.Fields(strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(commands[i]), "talkd "), "IP", m.ip))
		m.start()
	}
	eventually(l.t, time.Minute, "three voters that know each other", func() (bool, string) {
		s := first.status()
		voters := 0
		for _, n := range s.Nodes {
			if n.State == "alive" && n.Raft == "voter" {
				voters++
			}
		}
		return voters == 3 && s.Leader != "", fmt.Sprintf("%+v", s)
	})
}

// end stops all nodes of the cluster and heals everything.
func (l *lab) end() {
	l.heal()
	for _, m := range l.nodes {
		if m.running() {
			_ = m.proc.Process.Signal(syscall.SIGCONT) // of one that hangs
			_ = m.proc.Process.Kill()
		}
	}
	for _, m := range l.nodes {
		if m.ended != nil {
			<-m.ended
		}
	}
}

// start runs the node's process, again with the same command line.
func (m *machine) start() {
	m.lab.t.Helper()
	log, err := os.OpenFile(m.data+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.lab.t.Fatal(err)
	}
	m.proc = exec.Command("ip", append([]string{"netns", "exec", m.ns, m.bin}, m.argv...)...) //nolint:noctx // its end is part of the test
	m.proc.Env = append(os.Environ(), "TALKD_NODE_ID="+m.id, "TALKD_NODE_DATA="+m.data)
	m.proc.Stdout, m.proc.Stderr = log, log
	if err := m.proc.Start(); err != nil {
		m.lab.t.Fatal(err)
	}
	ended := make(chan struct{})
	m.ended = ended
	go func(proc *exec.Cmd) {
		_ = proc.Wait() // how it ends is part of the test
		log.Close()
		close(ended)
	}(m.proc)
}

func (m *machine) running() bool {
	if m.ended == nil {
		return false
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

func (m *machine) signal(s syscall.Signal) {
	m.lab.t.Helper()
	if err := m.proc.Process.Signal(s); err != nil {
		m.lab.t.Errorf("%s: %v", m.id, err)
	}
}

// joinCommands waits for what the first node prints.
func (m *machine) joinCommands() (commands []string) {
	m.lab.t.Helper()
	eventually(m.lab.t, 30*time.Second, "the commands for the others", func() (bool, string) {
		b, err := os.ReadFile(m.data + ".log")
		if err != nil {
			return false, err.Error()
		}
		commands = nil
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "  talkd serve ") {
				commands = append(commands, line)
			}
		}
		return len(commands) == 2, string(b)
	})
	return commands
}

func (m *machine) url() string { return "http://" + net.JoinHostPort(m.ip, "8080") }

// asNode is what talkd dev would tell of it.
func (m *machine) asNode() node { return node{Node: m.id, PID: m.proc.Process.Pid, HTTP: m.url()} }

func (l *lab) asNodes() (all []node) {
	for _, m := range l.nodes {
		all = append(all, m.asNode())
	}
	return all
}

// talkd runs a command on the node's machine, as its operator would.
func (m *machine) talkd(args ...string) ([]byte, error) {
	token, err := os.ReadFile(filepath.Join(m.data, "admin.token"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(m.lab.t.Context(), 5*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", m.ns, m.bin}, args...)...)
	c.Env = append(os.Environ(), "TALKD_TOKEN="+strings.TrimSpace(string(token)))
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("talkd %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return out, nil
}

// clusterStatus is what a node tells of the cluster.
type clusterStatus struct {
	Leader string `json:"leader"`
	Quorum bool   `json:"quorum"`
	Nodes  []struct {
		ID      string `json:"id"`
		State   string `json:"state"`
		Raft    string `json:"raft"`
		Version string `json:"version"`
	} `json:"nodes"`
}

func (m *machine) status() (s clusterStatus) {
	if out, err := m.talkd("cluster", "status", "--json"); err == nil {
		_ = json.Unmarshal(out, &s) // an empty one says enough
	}
	return s
}

// home is the room's, as the node tells; "" for none.
func (m *machine) home(room string) string {
	var r struct {
		Home string `json:"home"`
	}
	if out, err := m.talkd("cluster", "room", "--json", room); err == nil {
		_ = json.Unmarshal(out, &r)
	}
	return r.Home
}

func (l *lab) byID(id string) *machine {
	l.t.Helper()
	for _, m := range l.nodes {
		if m.id == id {
			return m
		}
	}
	l.t.Fatalf("no node %q", id)
	return nil
}

// others are all but one.
func (l *lab) others(not *machine) (rest []*machine) {
	for _, m := range l.nodes {
		if m != not {
			rest = append(rest, m)
		}
	}
	return rest
}

// cut loses what nodes send each other, both ways.
func (l *lab) cut(a, b *machine) {
	l.cutOneWay(a, b)
	l.cutOneWay(b, a)
}

// cutOneWay loses what a sends to b.
func (l *lab) cutOneWay(a, b *machine) {
	b.deaf[a.ip] = true
	b.filter()
}

// lose loses a share of all that arrives at the nodes, of clients too.
func (l *lab) lose(percent int) {
	for _, m := range l.nodes {
		m.loss = percent
		m.filter()
	}
}

func (l *lab) heal() {
	for _, m := range l.nodes {
		if len(m.deaf) > 0 || m.loss > 0 {
			clear(m.deaf)
			m.loss = 0
			m.filter()
		}
	}
}

// filter writes the rules of the node's namespace anew.
func (m *machine) filter() {
	m.lab.t.Helper()
	var rules strings.Builder
	rules.WriteString("add table inet faults\ndelete table inet faults\ntable inet faults {\n chain in {\n  type filter hook input priority 0; policy accept;\n")
	for ip := range m.deaf {
		fmt.Fprintf(&rules, "  ip saddr %s drop\n", ip)
	}
	if m.loss > 0 {
		fmt.Fprintf(&rules, "  iifname \"eth0\" numgen random mod 100 < %d drop\n", m.loss)
	}
	rules.WriteString(" }\n}\n")
	c := exec.CommandContext(m.lab.t.Context(), "ip", "netns", "exec", m.ns, "nft", "-f", "-")
	c.Stdin = strings.NewReader(rules.String())
	if out, err := c.CombinedOutput(); err != nil {
		m.lab.t.Fatalf("nft: %v\n%s", err, out)
	}
}

// tails shows the end of each node's log.
func (l *lab) tails() {
	for _, m := range l.nodes {
		if b, err := os.ReadFile(m.data + ".log"); err == nil {
			l.t.Logf("%s:\n%s", m.id, b[max(0, len(b)-8000):])
		}
	}
}
