package cluster_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/clustertest"
	"github.com/talkd/talkd/store"
)

// A room goes where an operator wants it, if the node can take it; who watches
// is told why.
func TestMove(t *testing.T) { virtual(t, move) }

func move(t *testing.T) {
	k := clustertest.Start(t, 3)
	k.AwaitLeader()
	asks := k.Followers()[0]
	home := place(t, asks, room(1))
	var to *clustertest.Node
	for _, n := range k.Running() {
		if n.ID != home.Node {
			to = n
		}
	}
	events, cancel := asks.Watch()
	defer cancel()
	k.Await("leases", func() bool {
		_, err := asks.Move(within(t), room(1), to.ID)
		return err == nil
	})
	moved, ok := asks.Lookup(room(1))
	if !ok || moved.Node != to.ID || moved.Epoch <= home.Epoch || moved.Reason != store.ReasonMove || !moved.Created.Equal(home.Created) {
		t.Errorf("home %+v, before %+v", moved, home)
	}
	k.Await("the new home to act", func() bool { return to.Acts(room(1), moved.Epoch) })
	if k.ByID(home.Node).Acts(room(1), home.Epoch) {
		t.Error("two homes act")
	}
	if e := <-events; e.Kind != store.EventHomeAssigned || e.Home != moved || e.Previous != home {
		t.Errorf("event %+v", e)
	}
	if again, err := asks.Move(within(t), room(1), to.ID); err != nil || again != moved {
		t.Errorf("again: %+v, %v", again, err)
	}

	if _, err := asks.Move(within(t), room(2), to.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a room without a home: %v", err)
	}
	if err := asks.Drain(within(t), home.Node, true); err != nil {
		t.Fatal(err)
	}
	for to, why := range map[store.NodeID]string{home.Node: "is draining", "n9": "no node"} {
		if _, err := asks.Move(within(t), room(1), to); !errors.Is(err, cluster.ErrUnfit) || !strings.Contains(err.Error(), why) {
			t.Errorf("to %s: %v, want %q", to, err, why)
		}
	}
	if err := asks.Drain(within(t), "n9", true); !errors.Is(err, store.ErrNoSuchNode) {
		t.Errorf("draining nobody: %v", err)
	}
}

// The rooms of a node that is to be left go to the others, all of them; what
// was decided outlives a change of the leader.
func TestDrain(t *testing.T) { virtual(t, drain) }

func drain(t *testing.T) {
	k := clustertest.Start(t, 3)
	settled(k)
	leader := k.AwaitLeader()
	awaitVoters(k, 3)
	const rooms = 150
	for i := range rooms {
		place(t, k.Node(i%3), room(i))
	}
	drained := k.Followers()[0]
	if err := drained.Drain(within(t), drained.ID, true); err != nil {
		t.Fatal(err)
	}
	k.Await("rooms elsewhere", func() bool { return len(leader.State.HomesOf(drained.ID)) == 0 })
	if leader.State.Rooms() != rooms {
		t.Errorf("%d rooms, want %d", leader.State.Rooms(), rooms)
	}
	moved := 0
	for i := range rooms {
		if home, _ := leader.Lookup(room(i)); home.Reason == store.ReasonDrain {
			moved++
		} else if home.Reason != store.ReasonNew {
			t.Errorf("%+v", home)
		}
	}
	if moved == 0 {
		t.Error("none has moved")
	}
	for _, m := range leader.Members() {
		if m.Draining != (m.ID == drained.ID) || m.ID == drained.ID && m.State != cluster.StateDraining {
			t.Errorf("%s: %s, %t", m.ID, m.State, m.Draining)
		}
	}

	leader.Kill()
	k.AwaitLeader(k.Running()...)
	k.Await("the rooms of the dead", func() bool { return len(drained.State.HomesOf(leader.ID)) == 0 })
	if n := len(drained.State.HomesOf(drained.ID)); n != 0 {
		t.Errorf("%d rooms went to a node that is to be left", n)
	}

	// With nobody else, rooms stay.
	rest := k.Running()[0]
	if rest == drained {
		rest = k.Running()[1]
	}
	if err := rest.Drain(within(t), rest.ID, true); err != nil {
		t.Fatal(err)
	}
	if n := len(drained.State.HomesOf(rest.ID)); n != rooms {
		t.Errorf("%d rooms, want %d", n, rooms)
	}
	if err := rest.Drain(within(t), drained.ID, false); err != nil {
		t.Fatal(err)
	}
	k.Await("rooms at the node that is back", func() bool { return len(drained.State.HomesOf(drained.ID)) == rooms })
}
