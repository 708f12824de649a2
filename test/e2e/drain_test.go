package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/test/load"
)

// TestDrainDuringCall: the home of a room is told to stop while people at three
// nodes talk. Who is there goes to another node, everybody hears everybody all the
// time, and then the process ends. The figures are what a listener would notice.
func TestDrainDuringCall(t *testing.T) {
	c := startCluster(t, 3)
	token := c.conversation(c.nodes[0], "Drain")
	clock := load.NewClock()
	var people []*load.Person
	enter := func(n node) *load.Person {
		t.Helper()
		plan := load.PersonPlan{
			Name: fmt.Sprintf("person %d", len(people)), Number: uint16(len(people) + 1), Room: token,
			IP: net.IPv4(127, 0, 0, 1), Clock: clock, Nodes: []load.Node{{Name: n.Node, URL: n.HTTP}},
		}
		for _, o := range c.nodes {
			if o.Node != n.Node {
				plan.Nodes = append(plan.Nodes, load.Node{Name: o.Node, URL: o.HTTP})
			}
		}
		p, err := load.Enter(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		people = append(people, p)
		return p
	}
	enter(c.nodes[2])
	var home node
	eventually(t, 10*time.Second, "the room has a home", func() (bool, string) {
		var r room
		c.admin(c.nodes[0], "/admin/v1/rooms/"+token, &r)
		if r.Home != "" {
			home = c.node(r.Home)
		}
		return r.Home != "", ""
	})
	for _, n := range c.nodes {
		enter(n)
	}
	hearing := func() (bool, string) {
		var deaf []string
		for _, p := range people {
			if !p.Hears(500*time.Millisecond, people...) {
				deaf = append(deaf, p.Name())
			}
		}
		return len(deaf) == 0, "not all is heard by " + strings.Join(deaf, ", ")
	}
	eventually(t, time.Minute, "everybody hears everybody", hearing)
	there := 0
	for _, p := range people {
		p.ComingAndGoing() // until now they came
		if strings.HasPrefix(p.Node(), home.HTTP) {
			there++
		}
	}
	wait := func(d time.Duration) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		<-timer.C // the time over which gaps are looked for
	}
	measure := func(when string, from, to time.Duration) {
		t.Helper()
		var all flow
		var late time.Duration
		for _, s := range people {
			sent := s.Sent(load.Audio)
			for i := 1; i < len(sent); i++ {
				if sent[i] >= from && sent[i] < to {
					late = max(late, sent[i]-sent[i-1])
				}
			}
		}
		for _, r := range people {
			for _, s := range people {
				if r == s {
					continue
				}
				for _, k := range []load.Kind{load.Audio, load.Video} {
					h := r.Ear(s.Number(), k).Between(from, to, s.Sent(k))
					all.add(k, h)
				}
			}
		}
		t.Logf("%s: %d streams, %v; longest run that never came: %v audio, %v video; longest time between two voice packets sent: %v",
			when, all.streams, all, ms(all.silence), ms(all.picture), ms(late))
		if all.silence > 60*time.Millisecond {
			t.Errorf("%s: %v of somebody's voice never came", when, all.silence)
		}
	}
	wait(3 * time.Second)
	began := clock()
	measure("before", began-2*time.Second, began-time.Second)
	if err := syscall.Kill(home.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, 40*time.Second, "the process ends", func() (bool, string) { return syscall.Kill(home.PID, 0) != nil, "" })
	ended := clock()
	wait(2 * time.Second)
	measure("during the drain", began, ended+time.Second)
	t.Logf("%s, where %d of %d people were, has ended %v after the signal", home.Node, there, len(people), (ended - began).Round(100*time.Millisecond))
	for _, p := range people {
		for _, i := range p.Incidents() {
			t.Logf("%s: %s (%s) after %v, for %v", p.Name(), i.What, i.Why, (i.At - began).Round(time.Millisecond), (i.Back - i.At).Round(time.Millisecond))
			if !i.Session {
				t.Errorf("%s: %s: %s", p.Name(), i.What, i.Why)
			}
		}
		// Who has moved is told who is there; nobody is told that somebody left.
		noise := p.ComingAndGoing()
		left := slices.ContainsFunc(noise, func(n string) bool { return strings.HasPrefix(n, "leave") })
		if len(p.Incidents()) == 0 && len(noise) > 0 || left {
			t.Errorf("%s was told of %v", p.Name(), noise)
		}
		if strings.HasPrefix(p.Node(), home.HTTP) {
			t.Errorf("%s is still at %s", p.Name(), home.Node)
		}
	}
	eventually(t, 10*time.Second, "everybody hears everybody", hearing)
}
