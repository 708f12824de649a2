package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/talkd/talkd/test/load"
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

// failures are those of the issue, and what else happens to clusters.
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

// call is one that people are in.
type call struct {
	lab    *lab
	clock  load.Clock
	token  string // of the conversation
	people []*load.Person
	at     map[*load.Person]*machine // where they began
}

// run does one failure on a cluster of its own.
func (l *lab) run(f failure) outcome {
	l.t.Helper()
	l.begin(talkd)
	defer l.end()
	defer func() {
		if l.t.Failed() {
			l.tails()
		}
	}()
	leader := l.byID(l.nodes[0].status().Leader)
	home := f.home(leader, l)
	c := l.talk(home)
	defer c.close()

	c.quiet(labSteady)
	for _, p := range c.people {
		p.ComingAndGoing()
	}
	token, err := l.logIn(l.t.Context(), home)
	if err != nil {
		l.t.Fatal(err)
	}
	usage := startUsage(l.usageNodes())
	o := outcome{name: f.name, leader: leader.id, home: home.id, at: c.clock()}
	victims, heal := f.do(l, leader, home)
	fresh := c.probe(l.livingOf(victims, leader, home), token, o.at)
	c.quiet(labLasts)
	o.until = c.clock()
	asked := fresh()
	o.fresh = &asked
	o.homeAfter = c.home(victims)
	c.look(&o, victims)
	if heal != nil {
		heal()
	}
	healed := c.clock()
	eventually(l.t, labMended, "everybody hears everybody again", func() (bool, string) { return c.allHear() })
	o.well = c.clock() - healed
	_, o.busy = usage.stop()
	for _, p := range c.people {
		for _, i := range p.Incidents() {
			l.t.Logf("%s (at %s): %+v", p.Name(), c.at[p].id, relative(i, o.at))
		}
	}
	l.t.Logf("\n%s", table([]outcome{o}))
	return o
}

func relative(i load.Incident, at time.Duration) load.Incident {
	i.At, i.Back = (i.At - at).Round(time.Millisecond), (i.Back - at).Round(time.Millisecond)
	return i
}

func (l *lab) usageNodes() (all []node) {
	for _, m := range l.nodes {
		all = append(all, node{Node: m.id, PID: m.proc.Process.Pid})
	}
	return all
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
func (l *lab) talk(home *machine) *call {
	l.t.Helper()
	c := &call{lab: l, clock: load.NewClock(), at: make(map[*load.Person]*machine)}
	for try := 1; ; try++ {
		c.token = l.conversation(home, fmt.Sprintf("Failure %d", try))
		c.enter(home)
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
		c.people = nil
	}
	for _, m := range append([]*machine{home}, l.others(home)...) {
		for n := range *labPeople {
			if m != home || n > 0 {
				c.enter(m)
			}
		}
	}
	eventually(l.t, time.Minute, "everybody hears everybody", func() (bool, string) { return c.allHear() })
	return c
}

// enter brings one more person to a node.
func (c *call) enter(m *machine) {
	c.lab.t.Helper()
	n := len(c.people)
	plan := load.PersonPlan{
		Name: fmt.Sprintf("person %d", n), Number: uint16(n + 1), Room: c.token, IP: net.ParseIP(labClient), Clock: c.clock,
		Nodes: []load.Node{{Name: m.id, URL: m.url()}},
	}
	for _, o := range c.lab.others(m) {
		plan.Nodes = append(plan.Nodes, load.Node{Name: o.id, URL: o.url()})
	}
	p, err := load.Enter(c.lab.t.Context(), plan)
	if err != nil {
		c.lab.t.Fatal(err)
	}
	c.people = append(c.people, p)
	c.at[p] = m
}

func (c *call) close() {
	var wg sync.WaitGroup
	for _, p := range c.people {
		wg.Go(p.Close)
	}
	wg.Wait()
}

// quiet lets time go by, in which people talk.
func (c *call) quiet(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.lab.t.Context().Done():
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

// home is where the room's is now, as the living tell.
func (c *call) home(victims []*machine) string {
	for _, m := range c.lab.nodes {
		if !slices.Contains(victims, m) {
			if h := m.home(c.token); h != "" {
				return h
			}
		}
	}
	return ""
}

// probe asks a node for a new conversation, over and over, until it gets one.
// What it returns tells how long that took, and what was answered before.
func (c *call) probe(at *machine, token string, since time.Duration) func() probed {
	ctx, cancel := context.WithCancel(c.lab.t.Context())
	done := make(chan probed, 1)
	go func() {
		var p probed
		defer func() { done <- p }()
		for n := 0; ctx.Err() == nil; n++ {
			err := c.lab.create(ctx, at, token, fmt.Sprintf("Probe %d", n), nil)
			if err == nil {
				p.after = c.clock() - since
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

// conversation makes a public one at a node.
func (l *lab) conversation(m *machine, name string) string {
	l.t.Helper()
	token, err := l.logIn(l.t.Context(), m)
	if err != nil {
		l.t.Fatal(err)
	}
	var room struct{ Token string }
	if err := l.create(l.t.Context(), m, token, name, &room); err != nil {
		l.t.Fatal(err)
	}
	return room.Token
}

func (l *lab) logIn(ctx context.Context, m *machine) (string, error) {
	var session struct{ Token string }
	err := ask(ctx, m.url()+"/ocs/v2.php/apps/talkd/api/v1/session", "", map[string]string{"user": labUser, "password": labSecret}, &session)
	return session.Token, err
}

func (l *lab) create(ctx context.Context, m *machine, token, name string, into any) error {
	return ask(ctx, m.url()+"/ocs/v2.php/apps/spreed/api/v4/room", token, map[string]any{"roomType": 3, "roomName": name}, into)
}

// ask posts to the Talk API and unpacks the envelope.
func ask(ctx context.Context, url, token string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("OCS-APIRequest", "true")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s: %s", resp.Status, b)
	}
	var envelope struct {
		OCS struct {
			Data json.RawMessage `json:"data"`
		} `json:"ocs"`
	}
	if err := json.Unmarshal(b, &envelope); err != nil || into == nil {
		return err
	}
	return json.Unmarshal(envelope.OCS.Data, into)
}
