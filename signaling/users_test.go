package signaling_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// usersOf are the Nextcloud sessions that an update of participants names.
func usersOf(e *wire.Event) []string {
	var ids []string
	for _, u := range e.Update.Users {
		var id string
		_ = json.Unmarshal(u["nextcloudSessionId"], &id) // empty: not the one that is expected
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func expectUsers(t *testing.T, who string, client *signalingtest.Client, want ...string) {
	t.Helper()
	if got := usersOf(client.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)); !slices.Equal(got, want) {
		t.Errorf("%s hears of %v, want %v", who, got, want)
	}
}

// enterPage is enter for somebody in a browser.
func (c *cluster) enterPage(n *testNode, user string) *signalingtest.Client {
	c.t.Helper()
	page := signalingtest.DialPage(c.t, n.url())
	page.Welcome()
	page.Hello(c.nextcloud.AuthURL(), params(user))
	page.Join("room", roomSession(user))
	page.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	return page
}

// TestUsersThatChanged: pages hear of those whose state has changed, also when
// the home moves; all of it comes when they enter and when they resume. Apps
// take each list for complete, so it is.
func TestUsersThatChanged(t *testing.T) {
	c, alice, bob, carol := call(t)
	c.nextcloud.AddUser("dave", "Dave")
	page := c.enterPage(c.nodes[1], "dave")
	expectUsers(t, "who enters", page, "nc-alice", "nc-bob", "nc-carol")
	page.Drain()

	c.nextcloud.InCall(c.nodes[2].url(), "room", signalingtest.Caller{Session: "nc-bob", UserID: "bob", InCall: 3})
	expectUsers(t, "a page", page, "nc-bob")
	for _, app := range []*signalingtest.Client{alice, bob, carol} {
		expectUsers(t, "an app", app, "nc-alice", "nc-bob", "nc-carol")
	}

	// Nothing has changed at a new home, so that nothing is told.
	c.move(c.room("room"), c.nodes[2])
	page.ExpectEvent(wire.TargetRoom, wire.EventUpdate)
	hears(t, alice, page, "moved")
	page.ExpectNone("users at the move", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Target == wire.TargetParticipants
	})

	// What changes while there is no home comes with the next one, alone.
	c.nodes[2].kill()
	c.move(c.room("room"), c.nodes[0])
	c.nextcloud.InCall(c.nodes[0].url(), "room", signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 1})
	expectUsers(t, "a page", page, "nc-alice")

	page.Cut()
	back := signalingtest.DialPage(t, c.nodes[1].url())
	back.Welcome()
	back.ResumeSession(page.Resume)
	expectUsers(t, "who resumes", back, "nc-alice", "nc-bob", "nc-carol")
}

// TestUsersWhoLeave: who leaves the room is not in the call any more; apps are told so
// before they hear of the leave.
func TestUsersWhoLeave(t *testing.T) {
	c, alice, bob, carol := call(t)
	c.nextcloud.AddUser("dave", "Dave")
	page := c.enterPage(c.nodes[0], "dave")
	expectJoin(alice, page.Session)
	expectJoin(bob, page.Session)
	page.Barrier()
	page.Drain()
	for _, app := range []*signalingtest.Client{alice, bob} {
		app.Barrier()
		app.Drain()
	}
	carol.Bye()
	for _, app := range []*signalingtest.Client{alice, bob} {
		m := app.Next()
		if m.Event == nil || m.Event.Target != wire.TargetParticipants {
			t.Fatalf("next %s", wire.Encode(m))
		}
		var in []string
		for _, u := range m.Event.Update.Users {
			in = append(in, string(u["sessionId"])+string(u["inCall"]))
		}
		if want := fmt.Sprintf(`["%s"7 "%s"7 "%s"0]`, alice.Session, bob.Session, carol.Session); fmt.Sprint(in) != want {
			t.Errorf("told %v, want %s", in, want)
		}
		expectLeave(app, carol.Session)
	}
	if m := page.Next(); m.Event == nil || m.Event.Type != wire.EventLeave {
		t.Errorf("a page: next %s", wire.Encode(m))
	}
}

// TestUsersOfLargeRoom: in a large room apps get the complete list less often,
// but the last state of it.
func TestUsersOfLargeRoom(t *testing.T) {
	const n = 40
	c := newCluster(t, 1)
	people(c)
	app := c.enter(c.nodes[0], "alice")
	page := c.enterPage(c.nodes[0], "bob")
	name := func(i int) string { return fmt.Sprintf("user%d", i) }
	for i := range n {
		c.nextcloud.AddUser(name(i), name(i))
		c.enter(c.nodes[0], name(i))
	}
	began := time.Now()
	for i := range n {
		c.nextcloud.InCall(c.nodes[0].url(), "room", signalingtest.Caller{Session: roomSession(name(i)), UserID: name(i), InCall: 7})
	}
	for i := range n {
		expectUsers(t, "a page", page, string(roomSession(name(i))))
	}
	lists := 0
	for named := 0; named < n; {
		named = len(usersOf(app.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)))
		lists++
	}
	// One at once, and then one in 5 ms for each member.
	if most := 2 + int(time.Since(began)/(n*5*time.Millisecond)); lists > most {
		t.Errorf("%d lists, want no more than %d", lists, most)
	}
}
