package signaling_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestDrain: people of a node that is left go to the homes of their rooms, few at
// once, and the drain ends when nobody is left.
func TestDrain(t *testing.T) {
	c := makeCluster(t, 3, true)
	people(c)
	c.pin("room", c.nodes[0])
	const many = 30
	var clients []*signalingtest.Client
	for i := range many {
		name := fmt.Sprintf("user%d", i)
		c.nextcloud.AddUser(name, name)
		clients = append(clients, c.enter(c.nodes[0], name, wire.ClientMove))
	}
	c.nodes[0].draining.Store(true)
	c.tick()
	left := make(chan signaling.Left, 1)
	go func() { left <- c.nodes[0].hub.Drain(t.Context()) }()
	// The room goes first.
	c.assign(c.room("room"), c.nodes[1], store.ReasonDrain)
	eventually(t, "as many as may are asked", func() bool { return c.nodes[0].moves("asked") == 20 })
	for range 3 {
		for i, x := range clients {
			if x == nil {
				continue
			}
			m, asked := asked(x)
			if !asked {
				continue
			}
			saidDone(t, x, second(t, x, m))
			clients[i] = nil
		}
	}
	select {
	case l := <-left:
		if l != (signaling.Left{}) {
			t.Errorf("left: %+v", l)
		}
	case <-time.After(signalingtest.Patience):
		t.Fatal("the drain does not end")
	}
	if n := c.nodes[1].moves("done"); n != many {
		t.Errorf("%v moved", n)
	}
}

// asked takes the request to move out of the mailbox, if it comes soon.
func asked(x *signalingtest.Client) (move *wire.Move, is bool) {
	for range 100 {
		for _, m := range x.Drain() {
			if m.Type == wire.TypeMove {
				return m.Move, true
			}
		}
		time.Sleep(time.Millisecond) // polls the mailbox
	}
	return nil, false
}

// TestDrainEnds: when there is no node to go to; when time is over; and it can be
// taken back.
func TestDrainEnds(t *testing.T) {
	c, alice, _ := moving(t)
	for _, n := range c.nodes[1:] {
		n.draining.Store(true)
	}
	if left := c.nodes[0].hub.Drain(t.Context()); left.Sessions != 1 || left.Rooms != 1 {
		t.Errorf("left: %+v", left)
	}
	alice.Barrier()
	alice.ExpectNone("a move", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMove })

	bobs := c.nodes[1]
	c.nodes[2].draining.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if left := bobs.hub.Drain(ctx); left.Sessions != 1 || left.Rooms != 0 {
		t.Errorf("left: %+v", left)
	}
}

// TestDrainedByDecision: a node may be left while it keeps running, until it is
// taken back.
func TestDrainedByDecision(t *testing.T) {
	c, alice, bob := moving(t)
	c.nextcloud.AddUser("eve", "Eve")
	eve := c.come(c.nodes[1], "eve", wire.ClientMove)
	eve.Join("room", "nc-eve")
	expectJoin(alice, eve.Session)
	expectJoin(bob, eve.Session)
	c.nodes[1].draining.Store(true)
	c.tick()
	move := expectMove(t, eve, c.nodes[0], wire.MoveDrain)
	c.nodes[1].draining.Store(false)
	c.tick()
	saidDone(t, eve, second(t, eve, move)) // who was asked goes all the same
	hears(t, alice, bob, "hello")
	bob.ExpectNone("a move", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMove })
}

// TestDrainToFullNodes: a node that is to be left waits for nodes that are not full;
// one that stops does not, and is not stopped by that either.
func TestDrainToFullNodes(t *testing.T) {
	c, alice, _ := moving(t)
	for _, n := range c.nodes[1:] {
		n.full.Store(true)
	}
	c.nodes[0].draining.Store(true)
	c.tick()
	c.assign(c.room("room"), c.nodes[1], store.ReasonDrain)
	for alice.ExpectEvent(wire.TargetRoom, wire.EventUpdate).Update.Home != "n2" {
	}
	alice.Barrier()
	alice.ExpectNone("a move", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMove })

	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan signaling.Left, 1)
	go func() { left <- c.nodes[0].hub.Drain(ctx) }()
	expectMove(t, alice, c.nodes[1], wire.MoveDrain)
	select {
	case l := <-left:
		t.Errorf("the drain has ended before she has moved: %+v", l)
	default:
	}
	cancel()
	<-left
}
