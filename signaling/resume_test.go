package signaling_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestResume: hello, what was said meanwhile, who is in the call; no answer to
// a room, no joins, and nobody else notices.
func TestResume(t *testing.T) {
	c, alice, bob, _ := call(t)
	for round := range 3 {
		bob.Cut()
		// What is written into a dead socket before it is noticed is lost.
		eventually(t, "the cut", func() bool { return c.nodes[1].metric("talkd_signaling_connections") == 0 })
		const n = 50
		for i := range n {
			alice.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, map[string]int{"n": i})
		}
		hears(t, alice, c.enterCarolAgain(t, round), "done")

		back := signalingtest.Dial(t, c.nodes[1].url())
		back.Welcome()
		back.Send(wire.ClientMessage{ID: "r", Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: bob.Resume}})
		back.Send(wire.ClientMessage{ID: "s", Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: bob.Resume}})
		if m := back.Next(); m.Hello == nil || m.Hello.SessionID != bob.Session || len(m.Hello.Server.Features) == 0 {
			t.Fatalf("answer to resume: %s", wire.Encode(m))
		}
		back.Session, back.Resume = bob.Session, bob.Resume
		for i := range n {
			m := back.Expect("queued", func(m *wire.ServerMessage) bool {
				return m.Message != nil && m.Message.Sender.SessionID == alice.Session
			})
			if want := fmt.Sprintf(`{"n":%d}`, i); string(m.Message.Data) != want {
				t.Fatalf("got %s, want %s", m.Message.Data, want)
			}
		}
		back.Expect("the last of it", func(m *wire.ServerMessage) bool { return m.Message != nil && m.Message.Sender.Type == wire.ToRoom })
		users := back.ExpectEvent(wire.TargetParticipants, wire.EventUpdate).Update.Users
		if len(users) < 3 {
			t.Errorf("%d users", len(users))
		}
		back.Barrier()
		back.ExpectNone("answer to the second hello", func(m *wire.ServerMessage) bool { return m.ID == "s" })
		alice.ExpectNone("leave", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventLeave })
		bob = back
	}
}

// enterCarolAgain makes a new listener: what she has heard, the home has done.
func (c *cluster) enterCarolAgain(t *testing.T, round int) *signalingtest.Client {
	t.Helper()
	user := fmt.Sprintf("dave%d", round)
	c.nextcloud.AddUser(user, user)
	client := c.enter(c.nodes[2], user)
	client.Barrier()
	client.Drain()
	return client
}

// TestResumeTakesOver: the client is back before the node has noticed that the
// old connection is dead.
func TestResumeTakesOver(t *testing.T) {
	c, _, bob, _ := call(t)
	for range 5 {
		back := signalingtest.Dial(t, c.nodes[1].url())
		back.Welcome()
		back.ResumeSession(bob.Resume)
		bob.ExpectClose()
		back.Barrier()
		bob = back
	}
}

// TestResumeTooLate: a session that was away for too long is gone, for everybody
// and for the Nextcloud.
func TestResumeTooLate(t *testing.T) {
	c, alice, bob, _ := call(t, quick)
	bob.Cut()
	expectLeave(alice, bob.Session)
	c.nextcloud.ExpectLeave("room", "nc-bob")
	back := signalingtest.Dial(t, c.nodes[1].url())
	back.Welcome()
	back.Send(wire.ClientMessage{ID: "r", Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: bob.Resume}})
	back.ExpectError(wire.CodeNoSuchSession)
	// A full hello on the same socket works.
	back.Hello(c.nextcloud.AuthURL(), params("bob"))
	back.Join("room", "nc-bob")
}

// redirect joins a room whose home is elsewhere and returns where to go.
func redirect(t *testing.T, client *signalingtest.Client) wire.RedirectDetails {
	t.Helper()
	answer := client.AskJoin("room", "nc-bob")
	var d wire.RedirectDetails
	if answer.Error == nil || answer.Error.Code != wire.CodeRedirect || json.Unmarshal(answer.Error.Details, &d) != nil {
		t.Fatalf("no redirect: %s", wire.Encode(answer))
	}
	return d
}

// TestRedirect: the session moves with its id; nobody sees a leave or a second
// join, and messages find it by its id.
func TestRedirect(t *testing.T) {
	c := newCluster(t, 3)
	people(c)
	c.pin("room", c.nodes[2])
	alice := c.enter(c.nodes[2], "alice", "redirect")
	bob := c.come(c.nodes[0], "bob", "redirect")
	d := redirect(t, bob)
	if d.RoomID != "room" || d.URL != strings.Replace(c.nodes[2].url(), "http", "ws", 1)+"/spreed" {
		t.Errorf("sent to %s for %s", d.URL, d.RoomID)
	}

	moved := signalingtest.Dial(t, d.URL)
	moved.Welcome()
	reply := moved.HelloTicket(d.Ticket, "redirect")
	if reply.SessionID != bob.Session || reply.Server.Node != "n3" || reply.UserID != "bob" {
		t.Errorf("hello %+v", reply)
	}
	if bye := bob.ExpectType(wire.TypeBye); bye.Bye.Reason != wire.ByeMoved {
		t.Errorf("bye because of %q", bye.Bye.Reason)
	}
	bob.ExpectClose()
	moved.Join("room", "nc-bob")
	expectJoin(alice, bob.Session)
	alice.Barrier()
	alice.ExpectNone("another join or leave", comesOrGoes)

	// From a third node, out of the room, by way of the node that made the id.
	c.nextcloud.AddUser("carol", "Carol")
	carol := c.come(c.nodes[1], "carol")
	carol.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, "hello bob")
	moved.Expect("message", func(m *wire.ServerMessage) bool { return m.Message != nil && m.Message.Sender.UserID == "carol" })

	// The old resume id is of no use, the new one is.
	old := signalingtest.Dial(t, c.nodes[0].url())
	old.Welcome()
	old.Send(wire.ClientMessage{ID: "r", Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: bob.Resume}})
	old.ExpectError(wire.CodeNoSuchSession)
	moved.Cut()
	back := signalingtest.Dial(t, c.nodes[2].url())
	back.Welcome()
	if back.ResumeSession(moved.Resume); back.Session != bob.Session {
		t.Error("another session")
	}
}

// TestTicketOnce: a ticket is good for one node, one time, and not for long.
func TestTicketOnce(t *testing.T) {
	c := newCluster(t, 3)
	people(c)
	c.pin("room", c.nodes[2])
	c.enter(c.nodes[2], "alice")
	bob := c.come(c.nodes[0], "bob", "redirect")
	d := redirect(t, bob)

	refused := func(node *testNode, ticket string, code wire.Code) {
		t.Helper()
		x := signalingtest.Dial(t, node.url())
		x.Welcome()
		x.Send(wire.ClientMessage{ID: "t", Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version,
			Auth:    &wire.Auth{Type: wire.AuthTicket, Params: json.RawMessage(fmt.Sprintf(`{"ticket":%q}`, ticket))},
		}})
		x.ExpectError(code)
	}
	refused(c.nodes[1], d.Ticket, wire.CodeInvalidTicket) // of another node
	moved := signalingtest.Dial(t, d.URL)
	moved.Welcome()
	moved.HelloTicket(d.Ticket)
	refused(c.nodes[2], d.Ticket, wire.CodeInvalidTicket) // used
	refused(c.nodes[2], d.Ticket+"x", wire.CodeInvalidTicket)

	// Too old: one that the cluster sealed a minute ago.
	expired, err := json.Marshal(map[string]any{"t": "n3", "e": 1, "n": "bm9uY2U=", "r": map[string]string{"name": "room"}})
	if err != nil {
		t.Fatal(err)
	}
	refused(c.nodes[2], newSealer("signaling ticket").Seal(expired), wire.CodeTokenExpired)
}

// TestStay: who does not know redirects, who asks to stay, and who came by a
// redirect is served where it is; so is everybody if the home takes nobody.
func TestStay(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[1])
	c.enter(c.nodes[1], "alice")

	plain := c.come(c.nodes[0], "bob")
	if r := plain.Join("room", "nc-bob"); r.Home != "n2" {
		t.Errorf("home %s", r.Home)
	}
	plain.Bye()

	stays := signalingtest.Dial(t, c.nodes[0].url()+"/spreed?redirect=0")
	stays.Welcome()
	stays.Hello(c.nextcloud.AuthURL(), params("bob"), "redirect")
	stays.Join("room", "nc-bob")
	stays.Bye()

	// It was sent to n2, but the home moved on meanwhile: not twice.
	bob := c.come(c.nodes[0], "bob", "redirect")
	d := redirect(t, bob)
	moved := signalingtest.Dial(t, d.URL)
	moved.Welcome()
	moved.HelloTicket(d.Ticket, "redirect")
	c.move(c.room("room"), c.nodes[0])
	moved.Join("room", "nc-bob")
	moved.Bye()

	c.move(c.room("room"), c.nodes[1])
	c.nodes[1].draining.Store(true)
	drained := c.come(c.nodes[0], "bob", "redirect")
	drained.Join("room", "nc-bob")
	drained.Bye()

	// Nobody is redirected before the backend has let them in.
	c.nodes[1].draining.Store(false)
	c.nextcloud.Refuse("room", wire.CodeNoSuchRoom)
	refused := c.come(c.nodes[0], "bob", "redirect")
	if answer := refused.AskJoin("room", "nc-bob"); answer.Error == nil || answer.Error.Code != wire.CodeNoSuchRoom {
		t.Errorf("answer %s", wire.Encode(answer))
	}
}

// TestSocketRedirect: an upgrade that names its room and comes from no browser
// is sent on.
func TestSocketRedirect(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[1])
	c.enter(c.nodes[1], "alice")
	q := "?room=" + url.QueryEscape(c.room("room").String())
	u := c.nodes[0].url() + "/spreed"
	if status := signalingtest.DialStatus(t, u+q, nil); status != http.StatusTemporaryRedirect {
		t.Errorf("status %d", status)
	}
	for what, status := range map[string]int{
		"another origin": signalingtest.DialStatus(t, u+q, http.Header{"Origin": {"https://cloud.example"}}),
		"redirect=0":     signalingtest.DialStatus(t, u+q+"&redirect=0", nil),
		"unknown room":   signalingtest.DialStatus(t, u+"?room=nowhere", nil),
		"no room":        signalingtest.DialStatus(t, u+"?room=%7E%7E", nil),
		"at home":        signalingtest.DialStatus(t, c.nodes[1].url()+"/spreed"+q, nil),
	} {
		if status != http.StatusSwitchingProtocols {
			t.Errorf("%s: status %d", what, status)
		}
	}
	// The client follows, below the other path too.
	follower := signalingtest.Dial(t, c.nodes[0].url()+"/standalone-signaling/spreed"+q)
	if info := follower.Welcome(); info.Node != "n2" {
		t.Errorf("at %s", info.Node)
	}
}

// TestTooLarge: a frame over 64 KiB is answered before the connection ends; the
// session can be resumed.
func TestTooLarge(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	for _, greeted := range []bool{false, true} {
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		if greeted {
			client.Hello(c.nextcloud.AuthURL(), params("alice"))
		}
		client.SendRaw([]byte(`{"type":"message","x":"` + strings.Repeat("x", wire.MaxFrame) + `"}`))
		client.ExpectError(wire.CodeInvalidFormat)
		if status := client.ExpectClose(); status != websocket.StatusMessageTooBig {
			t.Errorf("status %d", status)
		}
		if greeted {
			back := signalingtest.Dial(t, c.nodes[0].url())
			back.Welcome()
			back.ResumeSession(client.Resume)
		}
	}
}

// TestHelloTimeout: a connection without a session does not stay.
func TestHelloTimeout(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.HelloTimeout = 1e8 })
	client := signalingtest.Dial(t, c.nodes[0].url())
	client.ExpectError(wire.CodeHelloExpected)
	client.ExpectClose()
}

// TestThrottle: who fails too often has to wait; loopback of a development node
// has not.
func TestThrottle(t *testing.T) {
	for _, dev := range []bool{false, true} {
		c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = dev })
		people(c)
		throttled := false
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		for range 60 {
			answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
				Version: wire.Version, Auth: &wire.Auth{URL: c.nextcloud.AuthURL(), Params: json.RawMessage(`{"ticket":"guess"}`)},
			}})
			if answer.Error.Code == wire.CodeTooManyRequests {
				throttled = true
				client.ExpectClose()
				break
			}
		}
		if throttled == dev {
			t.Errorf("dev %t: throttled %t", dev, throttled)
		}
	}
}

// TestThrottleOfTheCluster: who guesses at two nodes, fewer times than one of them would
// bear, is slowed down at the third.
func TestThrottleOfTheCluster(t *testing.T) {
	c := newCluster(t, 3, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false })
	people(c)
	loopback, guesses := netip.MustParseAddr("127.0.0.1"), 0
	for deadline := time.Now().Add(signalingtest.Patience); !c.nodes[2].hub.Throttled(loopback); {
		if time.Now().After(deadline) {
			t.Fatalf("not slowed down after %d guesses", guesses)
		}
		client := signalingtest.Dial(t, c.nodes[guesses%2].url())
		client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: "guess"}})
		client.Cut()
		guesses++
	}
	if c.nodes[2].hub.Throttled(netip.MustParseAddr("192.0.2.1")) {
		t.Error("another address is slowed down")
	}
	c.come(c.nodes[2], "alice") // with something else, from the same network
}

// TestThrottleComesFirst: while somebody has to wait nothing is compared, not even the
// right secret; when the pause is over it is.
func TestThrottleComesFirst(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false })
	say := func(secret string) wire.ServerMessage {
		random := "0123456789abcdef0123456789abcdef"
		params, err := json.Marshal(wire.InternalAuth{Random: random, Token: backend.Checksum([]byte(secret), random, nil), Backend: c.nextcloud.URL()})
		if err != nil {
			t.Fatal(err)
		}
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		return client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthInternal, Params: params},
		}})
	}
	for i := range 40 {
		if answer := say("a guess"); answer.Error == nil || answer.Error.Code != wire.CodeInvalidToken {
			t.Fatalf("guess %d: %s", i, wire.Encode(answer))
		}
	}
	if answer := say(internalSecret); answer.Error == nil || answer.Error.Code != wire.CodeTooManyRequests {
		t.Errorf("the right secret in the pause: %s", wire.Encode(answer))
	}
	eventually(t, "the end of the pause", func() bool {
		return c.nodes[0].guesses.Wait(signaling.DoorHello, wire.AuthInternal, netip.MustParseAddr("127.0.0.1")) == 0
	})
	if answer := say(internalSecret); answer.Hello == nil {
		t.Errorf("the right secret: %s", wire.Encode(answer))
	}
}

// TestThrottleLetsIn: while somebody of a network guesses what nobody finds, those of it
// come in and take sessions up who have the real thing; each guess then costs a
// connection. Clients of another signaling server, whose resume ids are nothing here,
// hear that, and come anew.
func TestThrottleLetsIn(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false })
	people(c)
	token := func(of string) *wire.Hello {
		return &wire.Hello{Version: wire.Version2, Auth: &wire.Auth{URL: c.nextcloud.AuthURL(), Params: c.nextcloud.TokenParams(of)}}
	}
	real := c.nextcloud.Token("alice", "Alice")
	there := c.come(c.nodes[0], "bob")
	there.Cut()
	for what, guess := range map[string]struct {
		hello *wire.Hello
		code  wire.Code
	}{
		"resume id": {&wire.Hello{Version: wire.Version, ResumeID: "guess"}, wire.CodeNoSuchSession},
		"token":     {token(real[:len(real)-8] + "AAAAAAAA"), wire.CodeInvalidToken},
	} {
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		for i := range 41 {
			if answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: guess.hello}); answer.Error == nil || answer.Error.Code != guess.code {
				t.Fatalf("%s %d: %s", what, i, wire.Encode(answer))
			}
			if i == 40 {
				client.ExpectClose()
			}
		}
	}
	client := signalingtest.Dial(t, c.nodes[0].url())
	client.Welcome()
	if answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: token(real)}); answer.Hello == nil {
		t.Errorf("the real token: %s", wire.Encode(answer))
	}
	client = signalingtest.Dial(t, c.nodes[0].url())
	client.Welcome()
	client.ResumeSession(there.Resume)
}

// TestThrottleSparesTheLost: clients whose session is gone, or whose ticket has
// expired, have not guessed: many come at once, perhaps from one address, when
// their node has died.
func TestThrottleSparesTheLost(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false })
	people(c)
	gone := c.come(c.nodes[0], "alice")
	gone.Bye()
	expired := newSealer("signaling ticket").Seal([]byte(`{"t":"n1","e":1,"n":"bm9uY2U=","r":{"name":"room"}}`))
	client := signalingtest.Dial(t, c.nodes[0].url())
	client.Welcome()
	for range 60 {
		answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: gone.Resume}})
		if answer.Error == nil || answer.Error.Code != wire.CodeNoSuchSession {
			t.Fatalf("resume: %s", wire.Encode(answer))
		}
		answer = client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthTicket, Params: json.RawMessage(fmt.Sprintf(`{"ticket":%q}`, expired))},
		}})
		if answer.Error == nil || answer.Error.Code != wire.CodeTokenExpired {
			t.Fatalf("ticket: %s", wire.Encode(answer))
		}
	}
	client.Hello(c.nextcloud.AuthURL(), params("alice"))
	if n := c.nodes[0].metric("talkd_signaling_resumes_failed_total"); n != 60 {
		t.Errorf("%v resumes failed, want 60", n)
	}
}

// TestRedirectToFullNode: a node that takes nobody says so before the session
// leaves the one it is at.
func TestRedirectToFullNode(t *testing.T) {
	c := newCluster(t, 2, func(cfg *signaling.Config, d *signaling.Deps) {
		if d.Self == "n2" {
			cfg.MaxSessions = 1
		}
	})
	people(c)
	c.pin("room", c.nodes[1])
	alice := c.enter(c.nodes[1], "alice")
	bob := c.come(c.nodes[0], "bob", "redirect")
	d := redirect(t, bob)
	moved := signalingtest.Dial(t, d.URL)
	moved.Welcome()
	moved.Send(wire.ClientMessage{ID: "t", Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthTicket, Params: json.RawMessage(fmt.Sprintf(`{"ticket":%q}`, d.Ticket))},
	}})
	moved.ExpectError(wire.CodeSessionLimit)
	bob.Barrier()
	alice.Bye()
	moved.HelloTicket(d.Ticket) // as soon as there is room
}

// TestSessionLimit: a full node says so.
func TestSessionLimit(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.MaxSessions = 1 })
	people(c)
	c.come(c.nodes[0], "alice")
	client := signalingtest.Dial(t, c.nodes[0].url())
	client.Welcome()
	client.Send(wire.ClientMessage{ID: "h", Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version, Auth: &wire.Auth{URL: c.nextcloud.AuthURL(), Params: params("bob")},
	}})
	client.ExpectError(wire.CodeSessionLimit)
}

// TestClusterFull: nobody new is let into a room of a full cluster, and those
// who are in notice nothing of it.
func TestClusterFull(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	alice := c.enter(c.nodes[0], "alice")
	bob := c.come(c.nodes[0], "bob")
	c.nodes[0].crowded.Store(true)
	if answer := bob.AskJoin("room", roomSession("bob")); answer.Error == nil || answer.Error.Code != wire.CodeClusterFull {
		t.Errorf("answer %+v", answer)
	}
	c.nodes[0].crowded.Store(false)
	bob.Join("room", roomSession("bob"))
	alice.ExpectEvent(wire.TargetRoom, wire.EventJoin)
}
