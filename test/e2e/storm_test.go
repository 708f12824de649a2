package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// By default this only shows that nobody suffers from a few; docs/performance.md
// has the flags of the real one.
var (
	stormPeople   = flag.Int("storm.people", 8, "TestJoinStorm: how many enter a room at once")
	stormTogether = flag.Int("storm.together", 8, "TestJoinStorm: how many of them negotiate at the same time")
	stormWindow   = flag.Duration("storm.window", 3*time.Second, "TestJoinStorm: for how long those who are there already are listened to")
)

// stormWithin is how long it may take until all hear and see.
const stormWithin = 60 * time.Second

// TestJoinStorm: many enter a room at once, one of them sends and all hear and
// see that one. Those who are in a call there already lose nothing by it. They are
// people of this process; those who come are of another one with the lowest
// priority, so that what is measured is the node and not the processors that it
// shares with them.
func TestJoinStorm(t *testing.T) {
	if os.Getenv(crowdEnv) != "" {
		beCrowd(t)
		return
	}
	const secret, room = "a secret of many", "storm"
	nc := signalingtest.NewNextcloud(t, secret)
	c := startCluster(t, 1, "--backend", nc.URL()+"="+secret)
	server := c.nodes[0]
	nc.SetRoom(room, signalingtest.Room{})
	var early []wire.RoomSessionID
	first, err := load.Start(t.Context(), load.Plan{
		Nodes: []load.Node{{Name: server.Node, URL: server.HTTP}}, Room: room, Publishers: 1, Subscribers: 2,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) {
			user := fmt.Sprintf("early-%d", n)
			return load.Credentials{URL: nc.AuthURL(), Params: nc.AddUser(user, user)}, seatOf(user)
		},
		Call: func(publishers, subscribers []wire.RoomSessionID) {
			nc.InCall(server.HTTP, room, callers(publishers, subscribers)...)
			early = slices.Concat(subscribers, publishers)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	plan := crowdPlan{Node: load.Node{Name: server.Node, URL: server.HTTP}, Room: room, URL: nc.AuthURL(), Together: *stormTogether}
	var seats []wire.RoomSessionID
	for n := range *stormPeople {
		user := fmt.Sprintf("late-%d", n)
		plan.Params, plan.Seats = append(plan.Params, nc.AddUser(user, user)), append(plan.Seats, seatOf(user))
		seats = append(seats, seatOf(user))
	}
	type result struct {
		report *load.Report
		err    error
	}
	heard := make(chan result, 1)
	go func() {
		report, err := first.Measure(t.Context(), *stormWindow)
		heard <- result{report, err}
	}()
	usage := startUsage(c.nodes)
	crowd := startCrowd(t, plan)
	before, began := timesOf(server.PID), time.Now()
	crowd.await("joined")
	joined, joining := time.Since(began), timesOf(server.PID).ran-before.ran
	nc.InCall(server.HTTP, room, callers(seats[:1], slices.Concat(early, seats[1:]))...)
	crowd.say("called")
	crowd.await("all hear")
	took, busy, load := time.Since(began), timesOf(server.PID).ran-before.ran, timesOf(crowd.cmd.Process.Pid).ran
	got := <-heard
	if got.err != nil {
		t.Fatal(got.err)
	}
	_, starved := usage.stop() // see tooBusy
	if problems := got.report.Problems(); len(problems) > 0 && !starved {
		t.Errorf("those who were there: %q", problems)
	} else if len(problems) > 0 {
		t.Logf("void, as the machine is too busy: %q", problems)
	}
	t.Logf("%d entered: all in the room after %v, all heard and saw after %v; CPU time of the node %v and %v, %v for each, of those who entered %v; memory %s; those who were there:\n%s",
		*stormPeople, joined.Round(time.Millisecond), took.Round(time.Millisecond), joining.Round(time.Millisecond), busy.Round(time.Millisecond),
		(busy / time.Duration(*stormPeople)).Round(100*time.Microsecond), load.Round(time.Millisecond), memory(server.PID), got.report)
}

// crowdEnv is set in a process that is a crowd.
const crowdEnv = "STORM_CROWD"

// crowdPlan is what a crowd is told: the first of them sends, the others listen.
type crowdPlan struct {
	Node     load.Node
	Room     string
	URL      string // of the backend
	Params   []json.RawMessage
	Seats    []wire.RoomSessionID
	Together int
}

// crowd is the process of those who enter. It says a word a line, and is told
// words.
type crowd struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	words chan string
	noise strings.Builder // all else that it said, complete when words is closed
}

// startCrowd begins at once to enter.
func startCrowd(t *testing.T, plan crowdPlan) *crowd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nice", "-n", "19", os.Args[0], "-test.run", "^TestJoinStorm$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), crowdEnv+"=1", binaryEnv+"="+talkd)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, cmd: cmd, in: in, words: make(chan string, 2)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(c.words)
		for s := bufio.NewScanner(out); s.Scan(); {
			if word, ok := strings.CutPrefix(s.Text(), crowdSays); ok {
				c.words <- word
			} else {
				c.noise.WriteString(s.Text() + "\n")
			}
		}
	}()
	t.Cleanup(func() {
		in.Close()
		<-done
		_ = cmd.Wait() // what went wrong shows in await
	})
	if err := json.NewEncoder(in).Encode(plan); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *crowd) await(word string) {
	c.t.Helper()
	if got, ok := <-c.words; got != word || !ok {
		c.t.Fatalf("the crowd said %q instead of %q:\n%s", got, word, &c.noise)
	}
}

func (c *crowd) say(word string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		c.t.Fatal(err)
	}
}

const crowdSays = "the crowd: "

// beCrowd is the other process.
func beCrowd(t *testing.T) {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var plan crowdPlan
	if err := json.Unmarshal(line, &plan); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stormWithin)
	defer cancel()
	run, err := load.Start(ctx, load.Plan{
		Nodes: []load.Node{plan.Node}, Room: plan.Room, Publishers: 1, Subscribers: len(plan.Seats) - 1, Together: plan.Together,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) {
			return load.Credentials{URL: plan.URL, Params: plan.Params[n]}, plan.Seats[n]
		},
		Call: func([]wire.RoomSessionID, []wire.RoomSessionID) {
			fmt.Println(crowdSays + "joined")
			_, _ = in.ReadString('\n') // an end shows elsewhere
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	fmt.Println(crowdSays + "all hear")
	_, _ = in.ReadString('\n') // until the other process has seen enough
}
