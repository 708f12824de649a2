package signaling_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// back comes to a node with the session of an earlier connection, and gives the
// answer.
func back(t *testing.T, n *testNode, was *signalingtest.Client, features ...string) (*signalingtest.Client, wire.ServerMessage) {
	t.Helper()
	client := signalingtest.Dial(t, n.url())
	client.Welcome()
	answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: was.Resume, Features: features}})
	if answer.Hello != nil {
		client.Session, client.Resume = answer.Hello.SessionID, answer.Hello.ResumeID
	}
	return client, answer
}

// resumed is back for a client that is taken up again.
func resumed(t *testing.T, n *testNode, was *signalingtest.Client, want wire.Resumed) *signalingtest.Client {
	t.Helper()
	client, answer := back(t, n, was, wire.ClientResumeMedia)
	if answer.Hello == nil || answer.Hello.SessionID != was.Session || answer.Hello.Resumed == nil || *answer.Hello.Resumed != want {
		t.Fatalf("answer %s, want %+v", wire.Encode(answer), want)
	}
	return client
}

func beats(cfg *signaling.Config, _ *signaling.Deps) { cfg.LinkBeat = 200 * time.Millisecond }

// quiet checks that nobody was seen to come or go.
func quiet(clients ...*signalingtest.Client) {
	for _, x := range clients {
		x.ExpectNone("join or leave", comesOrGoes)
	}
}

// TestFront: a client that comes to another node has its session by way of that
// node, with all that was said meanwhile, also if it knows nothing of that.
func TestFront(t *testing.T) {
	c, alice, bob, carol := call(t)
	bob.Media(bob.Session, offer("video", "1"))
	bob.ExpectMedia(wire.MediaAnswer)
	bob.Cut()
	eventually(t, "the cut", func() bool { return c.nodes[1].metric("talkd_signaling_connections") == 0 })
	alice.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, "while you were away")
	alice.Barrier()
	carol.Media(carol.Session, offer("video", "1"))
	carol.ExpectMedia(wire.MediaAnswer)
	for i, n := range []*testNode{c.nodes[0], c.nodes[2], c.nodes[0], c.nodes[1]} {
		next, answer := back(t, n, bob)
		if answer.Hello == nil || answer.Hello.SessionID != bob.Session || answer.Hello.ResumeID != bob.Resume || !answer.Hello.Resumed.Media || answer.Hello.Server.Node != "n2" {
			t.Fatalf("at %s: %s", n.id, wire.Encode(answer))
		}
		if i == 0 {
			next.Expect("what was missed", func(m *wire.ServerMessage) bool {
				return m.Message != nil && m.Message.Sender.SessionID == alice.Session
			})
		}
		if users := next.ExpectEvent(wire.TargetParticipants, wire.EventUpdate).Update.Users; len(users) != 3 {
			t.Errorf("%d users", len(users))
		}
		hears(t, next, carol, "at "+string(n.id))
		hears(t, carol, next, "to "+string(n.id))
		next.Media(carol.Session, requestOffer("video"))
		if edge := expectOffer(t, next, carol.Session, "video"); edge != "n3" {
			t.Errorf("published at %q", edge)
		}
		next.Barrier()
		bob = next // its way is still open, and ends when the client comes to the next node
	}
	quiet(alice, carol)
	if n := c.nodes[1].hub.Report().Rooms[0].Publishers; n != 1 {
		t.Errorf("%d publishers", n)
	}
	bob.Bye()
	expectLeave(alice, bob.Session)
}

// TestFrontPassesAll: what is as long as it may be passes both ways.
func TestFrontPassesAll(t *testing.T) {
	c, alice, bob, _ := call(t)
	bob.Cut()
	bob = resumed(t, c.nodes[0], bob, wire.Resumed{Media: true})
	long := strings.Repeat("x", wire.MaxFrame-1024)
	hears(t, bob, alice, long)
	hears(t, alice, bob, long)
	for i := range 200 {
		bob.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": i})
	}
	for i := range 200 {
		m := alice.Expect("in order", func(m *wire.ServerMessage) bool { return m.Message != nil && m.Message.Sender.SessionID == bob.Session })
		if want := fmt.Sprintf(`{"n":%d}`, i); string(m.Message.Data) != want {
			t.Fatalf("got %s, want %s", m.Message.Data, want)
		}
	}
	bob.SendRaw([]byte(`{"type":"message","x":"` + strings.Repeat("x", wire.MaxFrame) + `"}`))
	bob.ExpectError(wire.CodeInvalidFormat)
	if status := bob.ExpectClose(); status != websocket.StatusMessageTooBig {
		t.Errorf("status %d", status)
	}
}

// TestFrontEnds: when the node of the session dies behind a front, the client
// comes back at once; so it does when the node of the front dies, or stops.
func TestFrontEnds(t *testing.T) {
	c, alice, bob, _ := call(t)
	bob.Cut()
	bob = resumed(t, c.nodes[2], bob, wire.Resumed{Media: true})
	c.nodes[2].kill()
	bob.ExpectClose()
	bob = resumed(t, c.nodes[0], bob, wire.Resumed{Media: true})
	bob.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	c.nodes[1].kill()
	if status := bob.ExpectClose(); status != noStatus {
		t.Errorf("status %d", status)
	}
	bob = resumed(t, c.nodes[0], bob, wire.Resumed{Room: "room"})
	hears(t, bob, alice, "here again")
	quiet(alice)
}

// TestRebuilt: the node of a session, which was the home of its room, is dead. The
// session goes on at another node at once, without its media, while there is no
// home; nobody sees it come or go, and who listens is bound to what it publishes
// anew.
func TestRebuilt(t *testing.T) {
	c, alice, bob, carol := call(t)
	alice.Media(alice.Session, offer("video", "1"))
	alice.ExpectMedia(wire.MediaAnswer)
	bob.Media(alice.Session, requestOffer("video"))
	expectOffer(t, bob, alice.Session, "video")
	carol.Media(alice.Session, requestOffer("video"))
	expectOffer(t, carol, alice.Session, "video")
	alice.Barrier()

	c.nodes[0].kill()
	began := time.Now()
	alice = resumed(t, c.nodes[1], alice, wire.Resumed{Room: "room"})
	t.Logf("the session is back after %v", time.Since(began))
	if join := alice.Next(); join.Event == nil || join.Event.Type != wire.EventJoin || len(join.Event.Join) != 3 {
		t.Fatalf("the first thing is %s", wire.Encode(join))
	}
	if users := alice.Next(); users.Event == nil || users.Event.Target != wire.TargetParticipants || len(users.Event.Update.Users) != 3 {
		t.Fatalf("then %s", wire.Encode(users))
	}
	alice.Media(alice.Session, offer("video", "2"))
	alice.ExpectMedia(wire.MediaAnswer)
	alice.Media(carol.Session, requestOffer("video"))
	carol.Media(carol.Session, offer("video", "1"))
	expectOffer(t, alice, carol.Session, "video")
	again := media.PubID{Session: alice.Session, Incarnation: 2, Kind: "video", Generation: 1}
	for _, n := range c.nodes[1:] {
		eventually(t, "rebound at "+string(n.id), func() bool {
			n.media.mu.Lock()
			defer n.media.mu.Unlock()
			return slices.Contains(n.media.rebound, again)
		})
	}
	hears(t, alice, bob, "without a home")
	hears(t, alice, carol, "without a home")
	hears(t, carol, alice, "without a home")

	c.move(c.room("room"), c.nodes[2])
	eventually(t, "all at the new home", func() bool {
		status, err := c.nodes[1].hub.RoomStatus(timeout(t, time.Second), c.room("room"))
		return err == nil && len(status.Sessions) == 3 && status.Sessions[0].InCall == 7
	})
	hears(t, alice, carol, "at the new home")
	hears(t, bob, alice, "at the new home")
	quiet(bob, carol)
	alice.ExpectNone("bye", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeBye })
}

// TestHomeDiesWithPeople: all who were at the home come back to the others within
// moments, while a new home is decided on; nobody sees anybody come or go.
func TestHomeDiesWithPeople(t *testing.T) {
	c, alice, bob, carol := call(t)
	lost := []*signalingtest.Client{alice}
	for i := range 4 {
		name := fmt.Sprintf("dave%d", i)
		c.nextcloud.AddUser(name, name)
		lost = append(lost, c.enter(c.nodes[0], name))
	}
	for _, x := range lost[1:] {
		expectJoin(bob, x.Session)
		expectJoin(carol, x.Session)
	}
	for _, x := range lost {
		x.Barrier()
	}
	c.nodes[0].kill()
	for i, x := range lost {
		lost[i] = resumed(t, c.nodes[1+i%2], x, wire.Resumed{Room: "room"})
		if i == 2 {
			c.move(c.room("room"), c.nodes[1])
		}
	}
	for _, x := range lost {
		join := x.ExpectEvent(wire.TargetRoom, wire.EventJoin)
		if len(join.Join) != 7 {
			t.Errorf("%d in the room", len(join.Join))
		}
		hears(t, x, carol, "from "+string(x.Session))
		hears(t, x, bob, "from "+string(x.Session))
	}
	eventually(t, "all at the new home", func() bool {
		status, err := c.nodes[2].hub.RoomStatus(timeout(t, time.Second), c.room("room"))
		return err == nil && len(status.Sessions) == 7
	})
	for _, x := range append(lost, bob, carol) {
		hears(t, bob, carol, "the last word") // all that came before has arrived
		x.Barrier()
		quiet(x)
	}
}

// TestRebuiltAfterTheHome: whoever comes back when the room has another home
// already is told which.
func TestRebuiltAfterTheHome(t *testing.T) {
	c, alice, bob, _ := call(t)
	c.nodes[0].kill()
	c.move(c.room("room"), c.nodes[2])
	if e := bob.ExpectEvent(wire.TargetRoom, wire.EventUpdate); e.Update.Home != c.nodes[2].id {
		t.Fatalf("the home is %s", e.Update.Home)
	}
	alice = resumed(t, c.nodes[1], alice, wire.Resumed{Room: "room"})
	if e := alice.ExpectEvent(wire.TargetRoom, wire.EventUpdate); e.Update.Home != c.nodes[2].id {
		t.Errorf("who comes back hears of %s", e.Update.Home)
	}
}

// TestRebuiltElsewhere: a node that nobody of the room is at does not know the
// room of a session. The client enters it again, under the same id, and nobody
// sees that.
func TestRebuiltElsewhere(t *testing.T) {
	c := newCluster(t, 4)
	people(c)
	c.pin("room", c.nodes[1])
	alice := c.enter(c.nodes[0], "alice")
	bob := c.enter(c.nodes[1], "bob")
	c.nextcloud.InCall(c.nodes[1].url(), "room", signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	expectJoin(bob, alice.Session)
	c.nodes[0].kill()
	alice = resumed(t, c.nodes[3], alice, wire.Resumed{})
	alice.Join("room", "nc-alice")
	if users := alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate).Update.Users; len(users) != 1 {
		t.Errorf("%d users", len(users))
	}
	expectJoin(alice, alice.Session)
	expectJoin(alice, bob.Session)
	hears(t, alice, bob, "here again")
	hears(t, bob, alice, "here again")
	quiet(bob)
	// With another session of the Nextcloud she is somebody else.
	c.nodes[3].kill()
	alice = resumed(t, c.nodes[2], alice, wire.Resumed{})
	alice.Join("room", "nc-alice-2")
	expectLeave(bob, alice.Session)
	expectJoin(bob, alice.Session)
}

// TestNotRebuilt: a session that has ended does not come to life again, nor does
// one whose client cannot publish anew, or whose client was asked about too long
// ago.
func TestNotRebuilt(t *testing.T) {
	c, alice, bob, carol := call(t)
	refused := func(n *testNode, was *signalingtest.Client, features ...string) {
		t.Helper()
		if _, answer := back(t, n, was, features...); answer.Error == nil || answer.Error.Code != wire.CodeNoSuchSession {
			t.Errorf("at %s: %s", n.id, wire.Encode(answer))
		}
	}
	bob.Bye()
	expectLeave(alice, bob.Session)
	for _, n := range c.nodes {
		refused(n, bob, wire.ClientResumeMedia) // its node lives, and says that it has ended
	}
	began := time.Now()
	c.nodes[2].kill()
	refused(c.nodes[0], carol)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Logf("refused after %v", took) // at once, but for the machine
	}
	id := carol.Resume
	for name, change := range map[string]func(*signalpb.Resume){
		"asked about long ago": func(r *signalpb.Resume) { r.Authenticated -= 25 * 3600 },
		"not complete":         func(r *signalpb.Resume) { r.Complete = false },
		"with another key":     func(r *signalpb.Resume) { r.Session, r.Node = string(alice.Session), "n1" },
		"without a key":        func(r *signalpb.Resume) { r.Key = nil },
	} {
		t.Log(name)
		carol.Resume = resealed(t, id, change)
		refused(c.nodes[0], carol, wire.ClientResumeMedia)
	}
	carol.Resume = id
	resumed(t, c.nodes[0], carol, wire.Resumed{Room: "room"})
	alice.Barrier()
	quiet(alice)
}

// resealed changes what is in a resume id.
func resealed(t *testing.T, id string, change func(*signalpb.Resume)) string {
	t.Helper()
	sealer := newSealer("signaling resume")
	plain, err := sealer.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	var r signalpb.Resume
	if err := proto.Unmarshal(plain, &r); err != nil {
		t.Fatal(err)
	}
	change(&r)
	if plain, err = proto.Marshal(&r); err != nil {
		t.Fatal(err)
	}
	return sealer.Seal(plain)
}

// TestOneOwner: an edge is cut off with a living session, which goes on at another
// node: the home knows the higher incarnation, and the former edge gives the
// session up when it hears of it.
func TestOneOwner(t *testing.T) {
	for _, oneWay := range []bool{false, true} {
		c, alice, bob, carol := call(t, beats)
		for _, n := range []*testNode{c.nodes[0], c.nodes[2]} {
			c.cables.cutOneWay(c.nodes[1], n)
			if !oneWay {
				c.cables.cutOneWay(n, c.nodes[1])
			}
		}
		here := resumed(t, c.nodes[2], bob, wire.Resumed{Room: "room"})
		expectJoin(here, alice.Session)
		hears(t, here, alice, "from the new node")
		hears(t, alice, here, "to the new node")
		hears(t, carol, here, "on one node")
		if !oneWay {
			bob.Barrier() // the former edge does not know
		}
		c.cables.mend()
		if bye := bob.ExpectType(wire.TypeBye); bye.Bye.Reason != wire.ByeMoved {
			t.Errorf("bye because of %q", bye.Bye.Reason)
		}
		bob.ExpectClose()
		hears(t, here, carol, "once more")
		hears(t, carol, here, "once more")
		quiet(alice, carol, here)
		// The old resume id finds the session where it is now, at whatever node.
		for _, n := range c.nodes {
			here = resumed(t, n, bob, wire.Resumed{Room: "room"})
			hears(t, here, alice, "by way of "+string(n.id))
		}
	}
}

// lostAnswer checks that a client which knows a session by an earlier incarnation
// only is told that its media are gone, and who is there, at whatever node it comes
// to; and that what it publishes then takes the place of what it published before.
func lostAnswer(t *testing.T, was, from *signalingtest.Client, listener *testNode, nodes []*testNode) {
	t.Helper()
	for i, n := range nodes {
		client := resumed(t, n, was, wire.Resumed{Room: "room"})
		if client.Resume == was.Resume {
			t.Error("the resume id is that of before")
		}
		there := len(client.ExpectEvent(wire.TargetRoom, wire.EventJoin).Join)
		if users := client.ExpectEvent(wire.TargetParticipants, wire.EventUpdate).Update.Users; len(users) != there {
			t.Errorf("%d in the room and %d in the call", there, len(users))
		}
		client.ExpectEvent(wire.TargetRoom, wire.EventUpdate)
		client.Media(client.Session, offer("video", "again"+string(n.id)))
		client.ExpectMedia(wire.MediaAnswer)
		again := media.PubID{Session: client.Session, Incarnation: 2, Kind: "video", Generation: uint32(i + 2)}
		eventually(t, fmt.Sprintf("rebound to %v", again), func() bool { return slices.Contains(listener.media.bound(), again) })
		hears(t, client, from, "by way of "+string(n.id))
		client = resumed(t, n, client, wire.Resumed{Media: true})
		client.ExpectNone("the list of those who are there", comesOrGoes)
		client.Barrier()
	}
}

// TestRebuiltUnheard: the answer to a client whose session was made anew is lost,
// and it asks again with the resume id of before.
func TestRebuiltUnheard(t *testing.T) {
	c, alice, bob, carol := call(t)
	alice.Media(alice.Session, offer("video", "1"))
	alice.ExpectMedia(wire.MediaAnswer)
	carol.Media(alice.Session, requestOffer("video"))
	expectOffer(t, carol, alice.Session, "video")
	c.nodes[0].kill()
	unheard := resumed(t, c.nodes[1], alice, wire.Resumed{Room: "room"})
	unheard.Media(unheard.Session, offer("video", "2"))
	unheard.ExpectMedia(wire.MediaAnswer)
	unheard.Cut()
	lostAnswer(t, alice, bob, c.nodes[2], []*testNode{c.nodes[1], c.nodes[2]})
	quiet(bob, carol)
}

// TestHungHome: a home that hangs keeps its sockets open. The others notice, talk
// without it, and turn to a new home; when it goes on, with a lease that has run
// out and without having heard of anything, it acts for nobody.
func TestHungHome(t *testing.T) {
	c, alice, bob, carol := call(t, beats)
	c.nextcloud.AddUser("dave", "Dave")
	c.nextcloud.AddUser("eve", "Eve")
	dave := c.come(c.nodes[0], "dave")
	eve := c.come(c.nodes[1], "eve")
	c.nodes[0].hang()
	began := time.Now()
	hears(t, bob, carol, "without the home")
	hears(t, carol, bob, "without the home")
	t.Logf("heard after %v, with a beat of 200 ms", time.Since(began))

	c.move(c.room("room"), c.nodes[1])
	alice2 := resumed(t, c.nodes[2], alice, wire.Resumed{Room: "room"})
	eve.Join("room", "nc-eve")
	expectJoin(bob, eve.Session)
	expectJoin(carol, eve.Session)
	expectJoin(alice2, alice.Session)
	expectJoin(alice2, eve.Session)
	expectJoin(eve, eve.Session)
	expectJoin(eve, bob.Session)

	// It goes on, and believes to be the home.
	c.cables.mend()
	dave.Send(wire.ClientMessage{ID: "join", Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: "room", SessionID: "nc-dave"}})
	alice.Say(wire.Recipient{Type: wire.ToRoom}, "I am somewhere else")
	hears(t, bob, carol, "after that")
	if got, ok := c.nodes[0].Lookup(c.room("room")); !ok || got.Node != "n1" {
		t.Errorf("the former home believes in %v", got)
	}
	dave.ExpectNone("room", func(m *wire.ServerMessage) bool { return m.ID == "join" })

	c.nodes[0].learnAgain()
	c.nodes[0].lease.Store(true)
	dave.Expect("room", func(m *wire.ServerMessage) bool { return m.ID == "join" && m.Room != nil })
	if bye := alice.ExpectType(wire.TypeBye); bye.Bye.Reason != wire.ByeMoved {
		t.Errorf("bye because of %q", bye.Bye.Reason)
	}
	for _, x := range []*signalingtest.Client{bob, carol, alice2, eve} {
		expectJoin(x, dave.Session)
	}
	for _, x := range []*signalingtest.Client{bob, carol, alice2} {
		hears(t, eve, x, "all here")
	}
}

// TestJoinWhileDetached: who wants into a room whose home hangs, and that has no
// other one yet, is told so in time; those in the room go on talking.
func TestJoinWhileDetached(t *testing.T) {
	c, _, bob, carol := call(t, beats, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.JoinTimeout = 1500 * time.Millisecond })
	c.nextcloud.AddUser("dave", "Dave")
	dave := c.come(c.nodes[1], "dave")
	c.nodes[0].hang()
	answer := dave.AskJoin("room", "nc-dave")
	if answer.Error == nil || answer.Error.Code != wire.CodeProcessingFailed || !strings.Contains(answer.Error.Message, "detached") {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	hears(t, bob, carol, "meanwhile")
	hears(t, carol, bob, "meanwhile")
}

// noStatus is of a connection that ends without a word.
const noStatus = websocket.StatusCode(-1)

// TestStopKeepsPeople: when a node stops, clients that go on with their sessions
// elsewhere have not left; others have.
func TestStopKeepsPeople(t *testing.T) {
	c, alice, bob, carol := call(t)
	c.nextcloud.AddUser("dave", "Dave")
	dave := c.enter(c.nodes[2], "dave", wire.ClientResumeMedia)
	expectJoin(alice, dave.Session)
	expectJoin(bob, dave.Session)
	dave.Barrier()
	page := signalingtest.DialPage(t, c.nodes[2].url())
	page.Welcome()
	c.nodes[2].quit()
	if status := dave.ExpectClose(); status != noStatus {
		t.Errorf("an app: status %d", status)
	}
	if status := page.ExpectClose(); status != websocket.StatusServiceRestart {
		t.Errorf("a page: status %d", status)
	}
	dave = resumed(t, c.nodes[1], dave, wire.Resumed{Room: "room"})
	expectJoin(dave, bob.Session)
	for _, x := range []*signalingtest.Client{alice, bob} {
		expectLeave(x, carol.Session)
		hears(t, dave, x, "still here")
		hears(t, x, dave, "still here")
	}
}

// TestLastOfANode: that nobody is left on one node ends nothing for the others,
// also if that node is the home.
func TestLastOfANode(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	for _, x := range []*signalingtest.Client{carol, alice} {
		x.Bye()
		expectLeave(bob, x.Session)
		if x == carol {
			expectLeave(alice, x.Session)
			hears(t, alice, bob, "still here")
		}
	}
	time.Sleep(500 * time.Millisecond) // longer than a room without people stays: nothing would tell that it goes on
	if home, placed := c.nodes[1].Lookup(c.room("room")); !placed || home.Node != "n1" {
		t.Errorf("home %v", home)
	}
	again := c.enter(c.nodes[2], "carol")
	expectJoin(bob, again.Session)
	expectJoin(again, bob.Session)
	hears(t, bob, again, "and on it goes")
}

// TestHeldBack: what is said to a session of a node that there is no link to
// arrives with the next one.
func TestHeldBack(t *testing.T) {
	c := newCluster(t, 2, beats)
	people(c)
	alice := c.come(c.nodes[0], "alice")
	bob := c.come(c.nodes[1], "bob")
	c.cut(c.nodes[0], c.nodes[1])
	eventually(t, "the cut", func() bool { return c.nodes[0].metric("talkd_signaling_links") == 0 })
	alice.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, "are you there?")
	alice.Say(wire.Recipient{Type: wire.ToUser, UserID: "bob"}, "are you there?")
	alice.Barrier()
	c.cables.mend()
	for _, to := range []string{wire.ToSession, wire.ToUser} {
		bob.Expect("message", func(m *wire.ServerMessage) bool { return m.Message != nil && m.Message.Sender.Type == to })
	}
}

// TestPingOfClient: answered at once, with a session and without.
func TestPingOfClient(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	client := signalingtest.Dial(t, c.nodes[0].url())
	if info := client.Welcome(); !slices.Contains(info.Features, wire.FeaturePing) || !slices.Contains(info.Features, wire.FeatureResumeMedia) {
		t.Errorf("features %v", info.Features)
	}
	for range 2 {
		if pong := client.Ask(wire.ClientMessage{Type: wire.TypePing}); pong.Type != wire.TypePong {
			t.Errorf("answer %s", wire.Encode(pong))
		}
		if client.Session == "" {
			client.Hello(c.nextcloud.AuthURL(), params("alice"))
		}
	}
}

// TestResumeIsBounded: however much the backend says of a client, the resume id is
// one that a client may send.
func TestResumeIsBounded(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	for _, n := range []int{100, 900, 1025, 100_000} {
		c.nextcloud.AddUser("long", strings.Repeat("x", n))
		features := []string{wire.ClientResumeMedia}
		for i := range 31 {
			features = append(features, fmt.Sprintf("%d%s", i, strings.Repeat("f", 60)))
		}
		client := c.come(c.nodes[0], "long", features...)
		if len(client.Resume) > 4096 {
			t.Errorf("display name of %d: resume id of %d", n, len(client.Resume))
		}
		resumed(t, c.nodes[1], client, wire.Resumed{Media: true})
	}
}
