package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/load"
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
	const room = "storm"
	nc, c := startServing(t, 1)
	server := c.nodes[0]
	var early []wire.RoomSessionID
	there := loadPlan(nc, c.nodes, room, 1, 2)
	call := there.Call
	there.Call = func(publishers, subscribers []wire.RoomSessionID) {
		call(publishers, subscribers)
		early = slices.Concat(subscribers, publishers)
	}
	first, err := load.Start(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Close)
	plan := crowdPlan{Node: there.Nodes[0], Room: room, Together: *stormTogether}
	var seats []wire.RoomSessionID
	for n := range *stormPeople {
		who, seat := account(nc, fmt.Sprintf("late-%d", n))
		plan.Who, seats = append(plan.Who, who), append(seats, seat)
	}
	plan.Seats = seats
	heard := measuring(t.Context(), t, first, *stormWindow)
	usage := startUsage(c.nodes)
	crowd := startChild(t, roleCrowd, "nice", "-n", "19")
	crowd.tell(plan)
	before, began := timesOf(server.PID), time.Now()
	crowd.await("joined")
	joined, joining := time.Since(began), timesOf(server.PID).ran-before.ran
	nc.InCall(server.HTTP, room, callers(seats[:1], slices.Concat(early, seats[1:]))...)
	crowd.tell("called")
	crowd.await("all hear")
	took, busy, load := time.Since(began), timesOf(server.PID).ran-before.ran, timesOf(crowd.pid).ran
	report := heard()
	_, starved := usage.stop() // see tooBusy
	if problems := report.Problems(); len(problems) > 0 && !starved {
		t.Errorf("those who were there: %q", problems)
	} else if len(problems) > 0 {
		t.Logf("void, as the machine is too busy: %q", problems)
	}
	t.Logf("%d entered: all in the room after %v, all heard and saw after %v; CPU time of the node %v and %v, %v for each, of those who entered %v; memory %s; those who were there:\n%s",
		*stormPeople, joined.Round(time.Millisecond), took.Round(time.Millisecond), joining.Round(time.Millisecond), busy.Round(time.Millisecond),
		(busy / time.Duration(*stormPeople)).Round(100*time.Microsecond), load.Round(time.Millisecond), memory(server.PID), report)
}

// crowdPlan is what the crowd is told: the first of them sends, the others listen.
// It says when all have joined, is told when they are in the call, and says when all
// hear.
type crowdPlan struct {
	Node     load.Node
	Room     string
	Who      []load.Credentials
	Seats    []wire.RoomSessionID
	Together int
}

// beCrowd is the process of those who enter.
func beCrowd(in *json.Decoder, out *json.Encoder) error {
	var plan crowdPlan
	if err := in.Decode(&plan); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stormWithin)
	defer cancel()
	run, err := load.Start(ctx, load.Plan{
		Nodes: []load.Node{plan.Node}, Room: plan.Room, Publishers: 1, Subscribers: len(plan.Seats) - 1, Together: plan.Together,
		Who: func(n int) (load.Credentials, wire.RoomSessionID) { return plan.Who[n], plan.Seats[n] },
		Call: func([]wire.RoomSessionID, []wire.RoomSessionID) {
			_ = out.Encode("joined") // an end shows elsewhere
			_ = in.Decode(new(string))
		},
	})
	if err != nil {
		return err
	}
	defer run.Close()
	if err := out.Encode("all hear"); err != nil {
		return err
	}
	return in.Decode(new(string)) // until this is killed
}
