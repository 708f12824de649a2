package signaling_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// moving makes a room with alice, who can move, at n1, which is its home, and bob
// at n2. Both are in the call and publish; bob receives alice. Nobody is at n3.
func moving(t *testing.T, options ...option) (c *cluster, alice, bob *signalingtest.Client) {
	t.Helper()
	c = makeCluster(t, 3, true, options...)
	people(c)
	c.pin("room", c.nodes[0])
	alice = c.enter(c.nodes[0], "alice", wire.ClientMove)
	bob = c.enter(c.nodes[1], "bob")
	expectJoin(alice, bob.Session)
	c.nextcloud.InCall(c.nodes[1].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7},
		signalingtest.Caller{Session: "nc-bob", UserID: "bob", InCall: 7})
	for _, x := range []*signalingtest.Client{alice, bob} {
		x.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
		x.Media(x.Session, offer("video", "first"))
		x.ExpectMedia(wire.MediaAnswer)
	}
	bob.Media(alice.Session, requestOffer("video"))
	bob.ExpectMedia(wire.MediaOffer)
	alice.Drain()
	bob.Drain()
	return c, alice, bob
}

// second opens the socket that a move asks for, and says hello there.
func second(t *testing.T, old *signalingtest.Client, move *wire.Move) *signalingtest.Client {
	t.Helper()
	client := signalingtest.Dial(t, move.URL)
	client.Welcome()
	hello := client.HelloTicket(move.Ticket, wire.ClientMove)
	if !hello.Moving || hello.SessionID != old.Session || hello.ResumeID == "" {
		t.Fatalf("hello %+v", hello)
	}
	return client
}

func expectMove(t *testing.T, client *signalingtest.Client, to *testNode, reason string) *wire.Move {
	t.Helper()
	m := client.ExpectType(wire.TypeMove).Move
	if m.RoomID != "room" || m.Reason != reason || m.DeadlineMS < 8000 || m.URL != "ws"+to.url()[len("http"):]+"/spreed" {
		t.Fatalf("move %+v", m)
	}
	return m
}

func tell(client *signalingtest.Client, state string) wire.ServerMessage {
	return client.Ask(wire.ClientMessage{Type: wire.TypeMove, Move: &wire.MoveState{State: state}})
}

// saidDone ends a move.
func saidDone(t *testing.T, old, client *signalingtest.Client) {
	t.Helper()
	answer := tell(client, wire.MoveDone)
	if answer.Move == nil || answer.Move.State != wire.MoveDone || answer.Move.Room == nil || answer.Move.Room.RoomID != "room" {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	// The answer comes first, then everybody who is there.
	if join := client.ExpectEvent(wire.TargetRoom, wire.EventJoin).Join; len(join) < 1 {
		t.Errorf("the list of those who are there: %v", join)
	}
	if bye := old.ExpectType(wire.TypeBye).Bye; bye.Reason != wire.ByeMoved {
		t.Errorf("bye %q", bye.Reason)
	}
	old.ExpectClose()
}

func (n *testNode) moves(result string) float64 {
	return n.metric("talkd_signaling_moves_total", result)
}

// expectMoves checks how many moves there were in the whole cluster.
func (c *cluster) expectMoves(want map[string]float64) {
	c.t.Helper()
	for _, result := range []string{"asked", "done", "late", "aborted", "failed"} {
		var n float64
		for _, node := range c.nodes {
			n += node.moves(result)
		}
		if n != want[result] {
			c.t.Errorf("%v moves %s, not %v", n, result, want[result])
		}
	}
}

// TestMove: the room goes to a node where nobody is, and alice with it. She has
// her media there before anybody hears of it; bob, who receives her, sees no leave
// and no join, and his connection is bound to what she publishes there.
func TestMove(t *testing.T) {
	c, alice, bob := moving(t)
	pull := media.PubID{Session: bob.Session, Incarnation: 1, Kind: "video", Generation: 1}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.nodes[1].hub.AuthorizePull(soon, "n3", pull); !errors.Is(err, signaling.ErrNotListening) {
		t.Errorf("a node without members may have media: %v", err)
	}
	c.move(c.room("room"), c.nodes[2])
	move := expectMove(t, alice, c.nodes[2], wire.MoveRoom)
	there := second(t, alice, move)
	if err := c.nodes[1].hub.AuthorizePull(t.Context(), "n3", pull); err != nil {
		t.Errorf("the node that she goes to may not have media: %v", err)
	}
	there.Media(there.Session, offer("video", "second"))
	there.ExpectMedia(wire.MediaAnswer)
	there.Media(bob.Session, requestOffer("video"))
	there.ExpectMedia(wire.MediaOffer)

	// Until then she is where she was.
	there.Say(wire.Recipient{Type: wire.ToRoom}, "too early")
	there.ExpectError(wire.CodeNotAllowed)
	if answer := there.AskJoin("room", "nc-alice"); answer.Error == nil || answer.Error.Code != wire.CodeNotAllowed {
		t.Errorf("join while warming: %s", wire.Encode(answer))
	}
	hears(t, alice, bob, "still here")
	hears(t, bob, alice, "so are you")
	if got := c.nodes[1].media.bound(); len(got) != 0 {
		t.Errorf("rebound to %v before the move is done", got)
	}

	saidDone(t, alice, there)
	hears(t, there, bob, "moved")
	hears(t, bob, there, "really?")
	eventually(t, "bob is bound to the new publication", func() bool {
		got := c.nodes[1].media.bound()
		return len(got) == 1 && got[0].Session == alice.Session && got[0].Incarnation == 2
	})
	there.ExpectNone("join or leave", comesOrGoes)
	bob.ExpectNone("join or leave", comesOrGoes)
	c.expectMoves(map[string]float64{"asked": 1, "done": 1})

	// The session is one as any other there.
	back := signalingtest.Dial(t, c.nodes[2].url())
	back.Welcome()
	back.ResumeSession(there.Resume)
	hears(t, back, bob, "resumed")
}

// TestMoveLosesNothing: what is said to all while somebody moves is heard once and
// in order, by the one socket or the other.
func TestMoveLosesNothing(t *testing.T) {
	c, alice, bob := moving(t)
	c.move(c.room("room"), c.nodes[1])
	there := second(t, alice, expectMove(t, alice, c.nodes[1], wire.MoveRoom))
	const many = 200
	begun, said := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		for i := range many {
			bob.Say(wire.Recipient{Type: wire.ToRoom}, i)
			if i == many/10 {
				close(begun)
			}
			time.Sleep(500 * time.Microsecond) // so that it is said before, during and after
		}
	}()
	<-begun // some of it before
	saidDone(t, alice, there)
	<-said
	isLast := func(m *wire.ServerMessage) bool {
		return m.Message != nil && string(m.Message.Data) == strconv.Itoa(many)
	}
	bob.Say(wire.Recipient{Type: wire.ToRoom}, many)
	var heard []string
	for _, m := range alice.Drain() {
		if m.Message != nil {
			heard = append(heard, string(m.Message.Data))
		}
	}
	before := len(heard)
	for {
		m := there.ExpectType(wire.TypeMessage)
		if isLast(&m) {
			break
		}
		heard = append(heard, string(m.Message.Data))
	}
	for i := range many {
		if i >= len(heard) || heard[i] != strconv.Itoa(i) {
			t.Fatalf("heard %v, of which %d by the old socket", heard, before)
		}
	}
	if len(heard) != many || before == 0 {
		t.Fatalf("%d heard, %d by the old socket", len(heard), before)
	}
}

// TestMovedUnheard: the answer to done is lost, and the client comes back with the
// resume id of before.
func TestMovedUnheard(t *testing.T) {
	c, alice, bob := moving(t)
	c.move(c.room("room"), c.nodes[2])
	unheard := second(t, alice, expectMove(t, alice, c.nodes[2], wire.MoveRoom))
	unheard.Media(unheard.Session, offer("video", "second"))
	unheard.ExpectMedia(wire.MediaAnswer)
	unheard.Send(wire.ClientMessage{Type: wire.TypeMove, Move: &wire.MoveState{State: wire.MoveDone}})
	alice.ExpectType(wire.TypeBye)
	unheard.Cut()
	lostAnswer(t, alice, bob, c.nodes[1], []*testNode{c.nodes[0], c.nodes[2], c.nodes[1]})
	quiet(bob)
}

// TestMoveAborted: nothing has happened when the client gives up, on whichever
// socket, or loses the new one.
func TestMoveAborted(t *testing.T) {
	c, alice, bob := moving(t)
	for round, abort := range []func(there *signalingtest.Client){
		func(there *signalingtest.Client) {
			if answer := tell(there, wire.MoveAbort); answer.Move == nil || answer.Move.State != wire.MoveAbort {
				t.Errorf("answer %s", wire.Encode(answer))
			}
			there.ExpectClose()
			tell(alice, wire.MoveAbort)
		},
		func(there *signalingtest.Client) {
			there.Cut()
			if answer := tell(alice, wire.MoveAbort); answer.Move == nil || answer.Move.State != wire.MoveAbort {
				t.Errorf("answer %s", wire.Encode(answer))
			}
		},
	} {
		// A session that was asked is not asked again at once, so each round has a
		// cluster of its own.
		if round > 0 {
			c, alice, bob = moving(t)
		}
		c.move(c.room("room"), c.nodes[2])
		there := second(t, alice, expectMove(t, alice, c.nodes[2], wire.MoveRoom))
		there.Media(there.Session, offer("video", "second"))
		there.ExpectMedia(wire.MediaAnswer)
		abort(there)
		hears(t, alice, bob, "I stay")
		hears(t, bob, alice, "fine")
		eventually(t, "the place is free again", func() bool { return c.nodes[2].metric("talkd_signaling_sessions") == 0 })
		if got := c.nodes[1].media.bound(); len(got) != 0 {
			t.Errorf("rebound to %v", got)
		}
		if answer := tell(alice, wire.MoveDone); answer.Error == nil || answer.Error.Code != wire.CodeNotAllowed {
			t.Errorf("done without a move: %s", wire.Encode(answer))
		}
		tell(alice, wire.MoveAbort) // of nothing
		c.expectMoves(map[string]float64{"asked": 1, "aborted": 1})
	}
}

// TestMoveTicket: a ticket is good once, at the node it is for, and while the
// session is where it was.
func TestMoveTicket(t *testing.T) {
	c, alice, bob := moving(t)
	c.move(c.room("room"), c.nodes[2])
	move := expectMove(t, alice, c.nodes[2], wire.MoveRoom)
	refused := func(n *testNode, code wire.Code) {
		t.Helper()
		client := signalingtest.Dial(t, n.url())
		client.Welcome()
		answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthTicket, Params: json.RawMessage(`{"ticket":"` + move.Ticket + `"}`)},
		}})
		if answer.Error == nil || answer.Error.Code != code {
			t.Errorf("answer %s", wire.Encode(answer))
		}
	}
	refused(c.nodes[1], wire.CodeInvalidTicket)
	there := second(t, alice, move)
	refused(c.nodes[2], wire.CodeInvalidTicket)

	// She leaves by the old socket: there is nothing to move any more.
	alice.Bye()
	expectLeave(bob, alice.Session)
	there.ExpectClose()
	refused(c.nodes[2], wire.CodeInvalidTicket)
}

// TestMoveOfWhoLeft: whoever has left by then has not moved.
func TestMoveOfWhoLeft(t *testing.T) {
	c, alice, bob := moving(t)
	c.move(c.room("room"), c.nodes[2])
	move := expectMove(t, alice, c.nodes[2], wire.MoveRoom)
	alice.Bye()
	expectLeave(bob, alice.Session)
	client := signalingtest.Dial(t, move.URL)
	client.Welcome()
	answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthTicket, Params: json.RawMessage(`{"ticket":"` + move.Ticket + `"}`)},
	}})
	if answer.Error == nil || answer.Error.Code != wire.CodeNoSuchSession {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	c.expectMoves(map[string]float64{"asked": 1, "failed": 1})
}

// TestOthersStay: who does not know how to move is not asked, nor is anybody at a
// node that was not the home, nor when the home died.
func TestOthersStay(t *testing.T) {
	c, alice, bob := moving(t)
	c.nextcloud.AddUser("dave", "Dave")
	c.nextcloud.AddUser("eve", "Eve")
	dave := c.enter(c.nodes[0], "dave")
	eve := c.come(c.nodes[1], "eve", wire.ClientMove)
	eve.Join("room", "nc-eve")
	for _, x := range []*signalingtest.Client{alice, bob, dave} {
		expectJoin(x, eve.Session)
		x.Drain()
	}
	c.assign(c.room("room"), c.nodes[2], store.ReasonAnew)
	c.move(c.room("room"), c.nodes[0])
	c.move(c.room("room"), c.nodes[2])
	expectMove(t, alice, c.nodes[2], wire.MoveRoom)
	eve.Drain()
	for _, x := range []*signalingtest.Client{bob, dave, eve} {
		hears(t, alice, x, "where are you")
		x.ExpectNone("a move", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMove })
	}
	alice.ExpectNone("another move", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeMove })
}

// TestFullHome: people are sent to another node of the room when its home is full,
// and stay if there is none, or if they are at one.
func TestFullHome(t *testing.T) {
	edges := []store.NodeID{"n1", "n3"}
	c := newCluster(t, 3, func(_ *signaling.Config, d *signaling.Deps) {
		d.EdgesOf = func(store.RoomID) []store.NodeID { return edges }
	})
	people(c)
	c.pin("room", c.nodes[0])
	c.enter(c.nodes[0], "alice")
	room := c.room("room")
	where := func(n *testNode) store.NodeID {
		to, _ := n.hub.Elsewhere(room)
		return to.ID
	}
	if got := where(c.nodes[1]); got != "n1" {
		t.Errorf("sent to %q", got)
	}
	c.nodes[0].full.Store(true)
	if got := where(c.nodes[1]); got != "n3" {
		t.Errorf("sent to %q", got)
	}
	if got := where(c.nodes[2]); got != "" {
		t.Errorf("who is at a node of the room is sent to %q", got)
	}
	c.nodes[2].draining.Store(true)
	if got := where(c.nodes[1]); got != "" {
		t.Errorf("sent to %q", got)
	}
}
