package e2e

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
)

// call is one that people of package load are in. Each of them sends all the
// time and hears all others.
type call struct {
	t      *testing.T
	nodes  []node
	ip     net.IP // of the people's machine
	clock  load.Clock
	token  string // of the conversation
	people []*load.Person
	at     map[*load.Person]node // where they began
}

func newCall(t *testing.T, ip string, nodes []node) *call {
	return &call{t: t, nodes: nodes, ip: net.ParseIP(ip), clock: load.NewClock(), at: make(map[*load.Person]node)}
}

// enter brings one more person to a node.
func (c *call) enter(n node) {
	c.t.Helper()
	count := len(c.people)
	plan := load.PersonPlan{
		Name: fmt.Sprintf("person %d", count), Number: uint16(count + 1), Room: c.token, IP: c.ip, Clock: c.clock,
		Nodes: []load.Node{{Name: n.Node, URL: n.HTTP}},
	}
	for _, o := range c.nodes {
		if o.Node != n.Node {
			plan.Nodes = append(plan.Nodes, load.Node{Name: o.Node, URL: o.HTTP})
		}
	}
	p, err := load.Enter(c.t.Context(), plan)
	if err != nil {
		c.t.Fatal(err)
	}
	c.people = append(c.people, p)
	c.at[p] = n
}

// close takes everybody out of the call.
func (c *call) close() {
	var wg sync.WaitGroup
	for _, p := range c.people {
		wg.Go(p.Close)
	}
	wg.Wait()
	c.people = nil
}

// forget forgets who was said to come and go until now.
func (c *call) forget() {
	for _, p := range c.people {
		p.ComingAndGoing()
	}
}

func (c *call) allHear() (bool, string) {
	var deaf []string
	for _, p := range c.people {
		if !p.Hears(500*time.Millisecond, c.people...) {
			deaf = append(deaf, p.Name())
		}
	}
	return len(deaf) == 0, "not all is heard by " + strings.Join(deaf, ", ")
}

// seen is the worst of what all received of all that was sent between two moments.
func (c *call) seen(from, to time.Duration) (f flow) {
	for _, r := range c.people {
		for _, s := range c.people {
			if s != r {
				f.hear(r, s, from, to)
			}
		}
	}
	return f
}

// unsteady is the longest time between two voice packets that somebody sent: what
// it is more than 20 ms was made by the machine of the people, not by a node.
func (c *call) unsteady(from, to time.Duration) (longest time.Duration) {
	for _, p := range c.people {
		sent := p.Sent(load.Audio)
		for i := 1; i < len(sent); i++ {
			if sent[i] >= from && sent[i] < to {
				longest = max(longest, sent[i]-sent[i-1])
			}
		}
	}
	return longest
}

// goneFrom waits until nobody is served by a node any more.
func (c *call) goneFrom(n node, within time.Duration) {
	c.t.Helper()
	eventually(c.t, within, "nobody is at "+n.Node, func() (bool, string) {
		for _, p := range c.people {
			if p.Node() == n.HTTP {
				return false, p.Name() + " is"
			}
		}
		return true, ""
	})
}

// moving is from when the first was asked to move to when the last had; 0 for
// nobody.
func (c *call) moving(at time.Duration) (from, to time.Duration) {
	for _, p := range c.people {
		for _, i := range p.Incidents() {
			if i.What != "moved" || i.At < at {
				continue
			}
			if to == 0 || i.At < from {
				from = i.At
			}
			to = max(to, i.Back)
		}
	}
	return from, to
}

// logIncidents tells what happened to whose connection, from a moment on.
func (c *call) logIncidents(at time.Duration) {
	for _, p := range c.people {
		for _, i := range p.Incidents() {
			i.At, i.Back = (i.At - at).Round(time.Millisecond), (i.Back - at).Round(time.Millisecond)
			c.t.Logf("%s (at %s): %+v", p.Name(), c.at[p].Node, i)
		}
	}
}

// talkFor lets time go by, over which people talk and gaps are looked for.
func talkFor(t *testing.T, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
