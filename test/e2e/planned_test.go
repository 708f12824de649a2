package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is planned must be over, and may take from somebody's voice in one piece.
const (
	movedWithin = 40 * time.Second
	maxSilence  = 60 * time.Millisecond
)

// planned does something that operators do while people talk, and tells what they
// saw: nobody loses the connection, nobody is shown as gone, and of nobody's voice
// more is missing than a listener can put up with.
func (c *call) planned(do func()) (o outcome) {
	c.t.Helper()
	talkFor(c.t, labSteady)
	c.forget()
	o.at = c.clock()
	do()
	o.well = c.clock() - o.at
	talkFor(c.t, 4*time.Second) // what is retired meanwhile must not be missed
	o.until = c.clock()
	// What was sent in the last second may be on its way.
	o.usual, o.stay = c.seen(o.at-labSteady, o.at-time.Second), c.seen(o.at-time.Second, o.until-time.Second)
	o.stayers = len(c.people)
	c.t.Logf("before: %v", o.usual)
	if from, to := c.moving(o.at); to > 0 {
		// As long before anybody moved is what the machine does by itself.
		c.t.Logf("while they moved, %s: %v; as long before: %v", ms(to-from), c.seen(from, to), c.seen(o.at-(to-from), o.at))
	}
	c.t.Logf("from then on: %v; longest time between two voice packets that were sent: %v", o.stay, ms(c.unsteady(o.at, o.until)))
	for when, f := range map[string]flow{"before": o.usual, "from then on": o.stay} {
		if f.silence > maxSilence {
			c.t.Errorf("%s: %v of somebody's voice never came", when, f.silence)
		}
	}
	for _, p := range c.people {
		incidents, noise := p.Incidents(), p.ComingAndGoing()
		for _, i := range incidents {
			if i.What != "moved" || !i.Session {
				c.t.Errorf("%s: %s: %s", p.Name(), i.What, i.Why)
			}
		}
		// Who has moved is told who is there; nobody is told that somebody left.
		o.seen += len(noise)
		left := slices.ContainsFunc(noise, func(n string) bool { return strings.HasPrefix(n, "leave") })
		if len(incidents) == 0 && len(noise) > 0 || left {
			c.t.Errorf("%s was told of %v", p.Name(), noise)
		}
	}
	eventually(c.t, labMended, "everybody hears everybody", c.allHear)
	return o
}

// TestPlanned does what operators do, on real machines, and prints what people
// see. Short runs do the upgrade alone, in which everything else happens too.
func TestPlanned(t *testing.T) {
	inLab(t, func(l *lab) {
		// Built before anybody talks: the compiler needs all of the machine.
		next := filepath.Join(l.dir, "next")
		if err := build(t.Context(), next, nextVersion); err != nil {
			t.Fatal(err)
		}
		var rows []outcome
		for _, p := range []struct {
			name  string
			short bool
			do    func(c *call, home *machine)
		}{
			{"room moved", false, func(c *call, home *machine) {
				l.mustTalkd(home, "cluster", "move", c.token, l.others(home)[1].id, "--no-wait")
				c.goneFrom(home.asNode(), movedWithin)
			}},
			{"home drained", false, func(c *call, home *machine) {
				l.mustTalkd(l.others(home)[0], "cluster", "drain", home.id, "--no-wait")
				c.goneFrom(home.asNode(), movedWithin)
			}},
			{"SIGTERM of the home", false, func(c *call, home *machine) {
				home.signal(syscall.SIGTERM)
				c.goneFrom(home.asNode(), movedWithin)
			}},
			{"rolling upgrade", true, func(c *call, _ *machine) { l.upgrade(c, next) }},
		} {
			if !*labAll && !p.short || !strings.Contains(p.name, *labOnly) {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				l.t = t
				rows = append(rows, l.scene(p.name, follower, func(c *call, _, home *machine) outcome {
					o := c.planned(func() { p.do(c, home) })
					o.homeAfter = l.homeOf(c.token, nil)
					return o
				}))
			})
		}
		t.Logf("%d people at each node\n%s", *labPeople, table(rows))
	})
}

func (l *lab) mustTalkd(m *machine, args ...string) {
	l.t.Helper()
	if out, err := m.talkd(args...); err != nil {
		l.t.Errorf("%v\n%s", err, out)
	}
}

const nextVersion = "next"

// upgrade starts one node after the other under a new version, as
// docs/operations.md says.
func (l *lab) upgrade(c *call, next string) {
	for _, m := range l.nodes {
		m.signal(syscall.SIGTERM)
		c.goneFrom(m.asNode(), movedWithin)
		eventually(l.t, movedWithin, m.id+" has ended", func() (bool, string) { return !m.running(), "it runs" })
		m.bin = next
		m.start()
		eventually(l.t, movedWithin, m.id+" is back", func() (bool, string) {
			s := m.status()
			alive := 0
			for _, n := range s.Nodes {
				if n.State == "alive" && n.Raft == "voter" {
					alive++
				}
				if n.ID == m.id && n.Version != nextVersion {
					return false, fmt.Sprintf("%+v", s)
				}
			}
			return alive == len(l.nodes) && s.Quorum, fmt.Sprintf("%+v", s)
		})
	}
}
