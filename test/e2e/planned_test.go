package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/test/load"
)

// labMoved is until everybody must be gone from a node.
const labMoved = 40 * time.Second

// TestPlanned does what operators do while people talk, and prints what those
// see: nobody may lose the connection, and the gaps are those of a move. Short
// runs do the upgrade alone, in which everything else happens too.
func TestPlanned(t *testing.T) {
	inLab(t, func(l *lab) {
		var rows []outcome
		for _, p := range []struct {
			name  string
			short bool
			do    func(l *lab, c *call, home *machine)
		}{
			{"room moved", false, func(l *lab, c *call, home *machine) {
				to := l.others(home)[1]
				if out, err := home.talkd("cluster", "move", c.token, to.id, "--no-wait"); err != nil {
					l.t.Errorf("%v\n%s", err, out)
				}
				c.goneFrom(home)
			}},
			{"home drained", false, func(l *lab, c *call, home *machine) {
				if out, err := l.others(home)[0].talkd("cluster", "drain", home.id, "--no-wait"); err != nil {
					l.t.Errorf("%v\n%s", err, out)
				}
				c.goneFrom(home)
			}},
			{"SIGTERM of the home", false, func(l *lab, c *call, home *machine) {
				home.signal(syscall.SIGTERM)
				c.goneFrom(home)
			}},
			{"rolling upgrade", true, upgrade},
		} {
			if !*labAll && !p.short {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				l.t = t
				rows = append(rows, l.plan(p.name, p.do))
			})
		}
		t.Logf("%d people at each node\n%s", *labPeople, table(rows))
	})
}

// plan does something while people talk.
func (l *lab) plan(name string, do func(*lab, *call, *machine)) outcome {
	l.t.Helper()
	l.begin(talkd)
	defer l.end()
	defer func() {
		if l.t.Failed() {
			l.tails()
		}
	}()
	leader := l.byID(l.nodes[0].status().Leader)
	home := follower(leader, l)
	c := l.talk(home)
	defer c.close()
	c.quiet(labSteady)
	for _, p := range c.people {
		p.ComingAndGoing()
	}
	usage := startUsage(l.usageNodes())
	o := outcome{name: name, leader: leader.id, home: home.id, at: c.clock()}
	do(l, c, home)
	o.well = c.clock() - o.at
	c.quiet(4 * time.Second) // what is retired meanwhile must not be missed
	o.until = c.clock()
	o.homeAfter = c.home(nil)
	c.lookAtAll(&o)
	eventually(l.t, labMended, "everybody hears everybody", func() (bool, string) { return c.allHear() })
	_, o.busy = usage.stop()
	for _, p := range c.people {
		for _, i := range p.Incidents() {
			l.t.Logf("%s (at %s): %+v", p.Name(), c.at[p].id, relative(i, o.at))
			if i.What != "moved" {
				l.t.Errorf("%s: %s: %s", p.Name(), i.What, i.Why)
			}
		}
	}
	l.t.Logf("\n%s", table([]outcome{o}))
	return o
}

// goneFrom waits until nobody is served by a node any more.
func (c *call) goneFrom(m *machine) {
	c.lab.t.Helper()
	eventually(c.lab.t, labMoved, "nobody is at "+m.id, func() (bool, string) {
		for _, p := range c.people {
			if p.Node() == m.url() {
				return false, p.Name() + " is"
			}
		}
		return true, ""
	})
}

// lookAtAll finds out what all saw of all.
func (c *call) lookAtAll(o *outcome) {
	c.usual(o)
	for _, r := range c.people {
		o.stayers++
		o.seen += len(r.ComingAndGoing())
		for _, s := range c.people {
			if s == r {
				continue
			}
			for _, k := range []load.Kind{load.Audio, load.Video} {
				o.stay.add(k, r.Ear(s.Number(), k).Between(o.at-time.Second, o.until-time.Second, s.Sent(k)))
			}
		}
	}
}

// upgrade starts one node after the other under a new version, as
// docs/operations.md says.
func upgrade(l *lab, c *call, _ *machine) {
	next := buildTalkd(l.t, "next")
	for _, m := range l.nodes {
		m.signal(syscall.SIGTERM)
		c.goneFrom(m)
		eventually(l.t, labMoved, m.id+" has ended", func() (bool, string) { return !m.running(), "it runs" })
		m.bin = next
		m.start()
		eventually(l.t, labMoved, m.id+" is back", func() (bool, string) {
			s := m.status()
			alive := 0
			for _, n := range s.Nodes {
				if n.State == "alive" && n.Raft == "voter" {
					alive++
				}
				if n.ID == m.id && n.Version != "next" {
					return false, fmt.Sprintf("%+v", s)
				}
			}
			return alive == len(l.nodes) && s.Quorum, fmt.Sprintf("%+v", s)
		})
	}
}

// buildTalkd builds the binary under another version.
func buildTalkd(t *testing.T, version string) string {
	t.Helper()
	out := t.TempDir() + "/talkd"
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", "hashicorpmetrics",
		"-ldflags", "-X main.version="+version, "-o", out, "../../cmd/talkd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building talkd: %v\n%s", err, b)
	}
	return out
}
