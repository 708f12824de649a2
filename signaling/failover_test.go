package signaling_test

import (
	"context"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

func quick(cfg *signaling.Config, _ *signaling.Deps) {
	cfg.ResumeTimeout = 800 * time.Millisecond
	cfg.RoomLinger = 200 * time.Millisecond
}

// call makes a room with alice, bob and carol on three nodes, all in the call;
// the home is the first node.
func call(t *testing.T, options ...option) (c *cluster, alice, bob, carol *signalingtest.Client) {
	t.Helper()
	c = makeCluster(t, 3, true, options...)
	people(c)
	c.nextcloud.AddUser("carol", "Carol")
	c.pin("room", c.nodes[0])
	alice = c.enter(c.nodes[0], "alice")
	bob = c.enter(c.nodes[1], "bob")
	carol = c.enter(c.nodes[2], "carol")
	expectJoin(alice, bob.Session)
	expectJoin(alice, carol.Session)
	expectJoin(bob, alice.Session)
	expectJoin(bob, carol.Session)
	expectJoin(carol, alice.Session)
	c.nextcloud.InCall(c.nodes[1].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7},
		signalingtest.Caller{Session: "nc-bob", UserID: "bob", InCall: 7},
		signalingtest.Caller{Session: "nc-carol", UserID: "carol", InCall: 7})
	for _, x := range []*signalingtest.Client{alice, bob, carol} {
		x.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
		x.Drain()
	}
	return c, alice, bob, carol
}

// TestHomeDies: the others go on talking, a new home takes over, nobody sees
// anybody come or go but the one who is lost, and that only after the time for
// coming back.
func TestHomeDies(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	before := time.Now()
	c.nodes[0].kill()

	hears(t, bob, carol, "nobody is home")
	hears(t, carol, bob, "but we can talk")

	c.move(c.room("room"), c.nodes[1])
	if home := bob.ExpectEvent(wire.TargetRoom, wire.EventUpdate).Update.Home; home != "n2" {
		t.Errorf("home is %s", home)
	}
	carol.ExpectEvent(wire.TargetRoom, wire.EventUpdate)
	hears(t, bob, carol, "new home")
	hears(t, carol, bob, "it works")
	for _, x := range []*signalingtest.Client{bob, carol} {
		expectLeave(x, alice.Session)
		x.ExpectNone("another join or leave", comesOrGoes)
	}
	if away := time.Since(before); away < 800*time.Millisecond {
		t.Errorf("left after %v", away)
	}
	c.nextcloud.ExpectLeave("room", "nc-alice")

	// The new home knows who is in the call.
	var status signaling.RoomStatus
	eventually(t, "both at the new home", func() bool {
		var err error
		status, err = c.nodes[2].hub.RoomStatus(context.Background(), c.room("room"))
		return err == nil && len(status.Sessions) == 2 && !status.Since.IsZero()
	})
	for _, s := range status.Sessions {
		if s.InCall != 7 {
			t.Errorf("%s is not in the call", s.RoomSession)
		}
	}

	// And lets people in.
	again := c.enter(c.nodes[2], "alice")
	expectJoin(bob, again.Session)
	expectJoin(carol, again.Session)
}

// TestHomeMoves: a planned move changes nothing for anybody.
func TestHomeMoves(t *testing.T) {
	c, alice, bob, carol := call(t)
	for i := range 6 {
		c.move(c.room("room"), c.nodes[(i+1)%3])
		if i%2 == 0 {
			hears(t, carol, bob, "moving") // while some know and some do not
		}
		for _, x := range []*signalingtest.Client{alice, bob, carol} {
			x.ExpectEvent(wire.TargetRoom, wire.EventUpdate)
		}
		hears(t, alice, bob, "moved")
		hears(t, bob, carol, "moved")
		hears(t, carol, alice, "moved")
	}
	eventually(t, "all at the last home", func() bool {
		status, err := c.nodes[2].hub.RoomStatus(context.Background(), c.room("room"))
		return err == nil && len(status.Sessions) == 3
	})
}

// TestDetached: a home without a lease lets nobody in and out, while messages
// go on.
func TestDetached(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	c.nextcloud.AddUser("dave", "Dave")
	c.nodes[0].lease.Store(false)
	hears(t, bob, carol, "detached")
	carol.Bye()
	dave := c.come(c.nodes[1], "dave")
	dave.Send(wire.ClientMessage{ID: "join", Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: "room", SessionID: "nc-dave"}})
	hears(t, bob, alice, "still detached") // no leave of carol, no join of dave
	if err := c.nodes[1].hub.Notify(timeout(t, 200*time.Millisecond), c.room("room"),
		backend.Request{Type: backend.TypeDelete, Delete: &backend.RoomDelete{}}); err == nil {
		t.Error("a detached room was deleted")
	}
	c.nodes[0].lease.Store(true)
	expectLeave(bob, carol.Session)
	expectJoin(bob, dave.Session)
	dave.Expect("answer", func(m *wire.ServerMessage) bool { return m.ID == "join" && m.Room != nil })
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestEdgeDies: those on other nodes see its people leave after the time for
// coming back; who comes back to another node is not there twice.
func TestEdgeDies(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	c.nodes[2].kill()
	hears(t, alice, bob, "carol is silent")

	// Carol comes to another node, which does not know her session. What she
	// lost goes when she enters, and not before.
	back := signalingtest.Dial(t, c.nodes[1].url())
	back.Welcome()
	back.Send(wire.ClientMessage{ID: "r", Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: carol.Resume}})
	back.ExpectError(wire.CodeNoSuchSession)
	back.Hello(c.nextcloud.AuthURL(), params("carol"))
	back.Join("room", "another-nc-carol")
	expectLeave(alice, carol.Session)
	expectJoin(alice, back.Session)
}

// TestLinkBreaks: two nodes lose their connection and find it again; nobody is
// told that anybody left.
func TestLinkBreaks(t *testing.T) {
	c, alice, bob, carol := call(t)
	for range 3 {
		c.nodes[0].hangUp() // the streams open again
		hears(t, carol, bob, "after the break")
		hears(t, alice, carol, "after the break")
		hears(t, bob, alice, "after the break")
	}
}

// TestRoomIsReleased: a room that nobody is in gives its home back, and can be
// entered again.
func TestRoomIsReleased(t *testing.T) {
	c := newCluster(t, 2, quick)
	people(c)
	c.pin("room", c.nodes[1])
	for range 2 {
		alice := c.enter(c.nodes[0], "alice")
		alice.Bye()
		eventually(t, "release", func() bool {
			_, placed := c.nodes[0].Lookup(c.room("room"))
			return !placed
		})
	}
	// A home that nobody ever came to is given back too.
	c.move(c.room("room"), c.nodes[0])
	eventually(t, "release", func() bool {
		_, placed := c.nodes[0].Lookup(c.room("room"))
		return !placed
	})
	status, err := c.nodes[0].hub.RoomStatus(context.Background(), c.room("room"))
	if err != nil || len(status.Sessions) != 0 {
		t.Errorf("status %+v: %v", status, err)
	}
}

// TestSameParticipantTwice: the second session of a participant takes the place
// of the first, on whatever nodes the two are.
func TestSameParticipantTwice(t *testing.T) {
	c, alice, bob, _ := call(t)
	again := c.come(c.nodes[2], "bob")
	again.Join("room", "nc-bob")
	bye := bob.ExpectType(wire.TypeBye)
	if bye.Bye.Reason != wire.ByeRoomSession {
		t.Errorf("bye because of %q", bye.Bye.Reason)
	}
	bob.ExpectClose()
	first := alice.Expect("first", comesOrGoes)
	second := alice.Expect("second", comesOrGoes)
	if first.Event.Type != wire.EventLeave || second.Event.Type != wire.EventJoin {
		t.Errorf("%s, then %s", first.Event.Type, second.Event.Type)
	}
	for _, q := range c.nextcloud.Questions() {
		if q.Action == "leave" {
			t.Errorf("the Nextcloud was told that %s left", q.SessionID)
		}
	}
}

// TestReleasedByTheCluster: a room whose home is taken away while people are in
// it gets another one.
func TestReleasedByTheCluster(t *testing.T) {
	c, alice, bob, _ := call(t)
	home, err := c.nodes[0].Place(context.Background(), c.room("room"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[0].Release(context.Background(), c.room("room"), home.Epoch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another home", func() bool {
		now, placed := c.nodes[1].Lookup(c.room("room"))
		return placed && now.Epoch > home.Epoch
	})
	hears(t, alice, bob, "here we are again")
}
