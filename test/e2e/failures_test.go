package e2e

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/load"
)

var (
	labAll    = flag.Bool("lab.all", false, "all failures, not only those of a short run")
	labPeople = flag.Int("lab.people", 2, "people at each node")
	labOnly   = flag.String("lab.only", "", "only failures whose name contains this")
)

// How long a failure is looked at.
const (
	labSteady = 5 * time.Second  // before it
	labLasts  = 12 * time.Second // from it on
	labMended = 40 * time.Second // until everybody hears everybody again
)

// failure is one line of docs/failures.md.
type failure struct {
	name  string
	short bool // part of make test
	// home says on which node the room has its home.
	home func(leader *machine, l *lab) *machine
	// do makes it happen; what it returns ends it, may be nil. victims are the
	// nodes whose people have to go elsewhere.
	do func(l *lab, leader, home *machine) (victims []*machine, heal func())
}

func follower(leader *machine, l *lab) *machine { return l.others(leader)[0] }

func theLeader(leader *machine, _ *lab) *machine { return leader }

// failures are what happens to clusters.
func failures() []failure {
	kill := func(m *machine) ([]*machine, func()) {
		m.signal(syscall.SIGKILL)
		return []*machine{m}, m.start
	}
	hang := func(m *machine) ([]*machine, func()) {
		m.signal(syscall.SIGSTOP)
		return []*machine{m}, func() { m.signal(syscall.SIGCONT) }
	}
	return []failure{
		{"home killed", true, follower, func(_ *lab, _, home *machine) ([]*machine, func()) { return kill(home) }},
		{"leader killed", false, follower, func(_ *lab, leader, _ *machine) ([]*machine, func()) { return kill(leader) }},
		{"leader killed that is the home", false, theLeader, func(_ *lab, leader, _ *machine) ([]*machine, func()) { return kill(leader) }},
		{"home hangs", false, follower, func(_ *lab, _, home *machine) ([]*machine, func()) { return hang(home) }},
		{"leader hangs", true, follower, func(_ *lab, leader, _ *machine) ([]*machine, func()) { return hang(leader) }},
		{"leader hangs that is the home", false, theLeader, func(_ *lab, leader, _ *machine) ([]*machine, func()) { return hang(leader) }},
		{"home and leader cut both ways", false, follower, func(l *lab, leader, home *machine) ([]*machine, func()) {
			l.cut(leader, home)
			return nil, l.heal
		}},
		{"leader not heard by the home", false, follower, func(l *lab, leader, home *machine) ([]*machine, func()) {
			l.cutOneWay(leader, home)
			return nil, l.heal
		}},
		{"home not heard by the leader", false, follower, func(l *lab, leader, home *machine) ([]*machine, func()) {
			l.cutOneWay(home, leader)
			return nil, l.heal
		}},
		{"home cut off from both others", false, follower, func(l *lab, _, home *machine) ([]*machine, func()) {
			for _, o := range l.others(home) {
				l.cut(home, o)
			}
			return nil, l.heal
		}},
		{"leader cut off from both others, the home", false, theLeader, func(l *lab, leader, _ *machine) ([]*machine, func()) {
			for _, o := range l.others(leader) {
				l.cut(leader, o)
			}
			return nil, l.heal
		}},
		{"two of three killed, the home stays", false, follower, func(l *lab, _, home *machine) ([]*machine, func()) {
			others := l.others(home)
			for _, o := range others {
				kill(o)
			}
			return others, func() {
				for _, o := range others {
					o.start()
				}
			}
		}},
		{"5 % of all packets lost", true, follower, func(l *lab, _, _ *machine) ([]*machine, func()) {
			l.lose(5)
			return nil, l.heal
		}},
	}
}

// TestFailures lets things fail while people talk, and prints what they see.
// Short runs do three of them. See docs/failures.md for what it says.
func TestFailures(t *testing.T) {
	inLab(t, func(l *lab) {
		var rows []outcome
		for _, f := range failures() {
			if !*labAll && !f.short || !strings.Contains(f.name, *labOnly) {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				l.t = t
				rows = append(rows, l.run(f))
			})
		}
		t.Logf("%d people at each node\n%s", *labPeople, table(rows))
	})
}

// scene does something on a cluster of its own in which people talk, and the
// home of their room is where it is wanted. What is done tells what was seen.
func (l *lab) scene(name string, homeAt func(leader *machine, l *lab) *machine, do func(c *call, leader, home *machine) outcome) outcome {
	l.t.Helper()
	l.begin(talkd)
	defer l.end()
	defer func() {
		if l.t.Failed() {
			l.tails()
		}
	}()
	leader := l.byID(l.nodes[0].status().Leader)
	home := homeAt(leader, l)
	c := newCall(l.t, labClient, l.asNodes())
	defer c.close()
	l.talk(c, home)
	usage := startUsage(c.nodes)
	o := do(c, leader, home)
	_, o.busy = usage.stop()
	o.name, o.leader, o.home = name, leader.id, home.id
	c.logIncidents(o.at)
	l.t.Logf("\n%s", table([]outcome{o}))
	return o
}

// run does one failure.
func (l *lab) run(f failure) outcome {
	l.t.Helper()
	return l.scene(f.name, f.home, func(c *call, leader, home *machine) (o outcome) {
		talkFor(l.t, labSteady)
		token, err := apitest.LogIn(l.t.Context(), home.url(), labUser, labSecret)
		if err != nil {
			l.t.Fatal(err)
		}
		c.forget()
		o.at = c.clock()
		victims, heal := f.do(l, leader, home)
		fresh := l.probe(l.livingOf(victims, leader, home), token, c.clock, o.at)
		talkFor(l.t, labLasts)
		o.until = c.clock()
		asked := fresh()
		o.fresh = &asked
		o.homeAfter = l.homeOf(c.token, victims)
		l.look(c, &o, victims)
		if heal != nil {
			heal()
		}
		healed := c.clock()
		eventually(l.t, labMended, "everybody hears everybody again", c.allHear)
		o.well = c.clock() - healed
		return o
	})
}

// livingOf is a node at which new rooms should be possible.
func (l *lab) livingOf(victims []*machine, avoid ...*machine) *machine {
	for _, m := range l.nodes {
		if !slices.Contains(victims, m) && !slices.Contains(avoid, m) {
			return m
		}
	}
	for _, m := range l.nodes {
		if !slices.Contains(victims, m) {
			return m
		}
	}
	return l.nodes[0]
}

// talk brings people to all nodes into a call whose home is at a node.
func (l *lab) talk(c *call, home *machine) {
	l.t.Helper()
	for try := 1; ; try++ {
		c.token = conversation(l.t, home.url(), labUser, labSecret, fmt.Sprintf("Lab %d", try))
		c.enter(home.asNode())
		var is string
		eventually(l.t, 10*time.Second, "the room has a home", func() (bool, string) {
			is = home.home(c.token)
			return is != "", ""
		})
		if is == home.id {
			break
		}
		if try == 5 {
			l.t.Fatalf("five rooms have their homes elsewhere than at %s, where their people are", home.id)
		}
		c.close()
	}
	for _, m := range append([]*machine{home}, l.others(home)...) {
		for n := range *labPeople {
			if m != home || n > 0 {
				c.enter(m.asNode())
			}
		}
	}
	eventually(l.t, time.Minute, "everybody hears everybody", c.allHear)
}

// homeOf is where the home of a room is, as the living tell.
func (l *lab) homeOf(room string, victims []*machine) string {
	for _, m := range l.nodes {
		if !slices.Contains(victims, m) {
			if h := m.home(room); h != "" {
				return h
			}
		}
	}
	return ""
}

// probe asks a node for a new conversation, over and over, until it gets one.
// What it returns tells how long that took, and what was answered before.
func (l *lab) probe(at *machine, token string, clock load.Clock, since time.Duration) func() probed {
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan probed, 1)
	go func() {
		var p probed
		defer func() { done <- p }()
		for n := 0; ctx.Err() == nil; n++ {
			_, err := apitest.Create(ctx, at.url(), token, fmt.Sprintf("Probe %d", n))
			if err == nil {
				p.after = clock() - since
				return
			}
			if ctx.Err() == nil {
				p.refused = err.Error()
			}
			timer := time.NewTimer(50 * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		}
	}()
	return func() probed {
		cancel()
		return <-done
	}
}

// probed is how long it took to get a new room; 0: there was none to get.
type probed struct {
	after   time.Duration
	refused string
}
