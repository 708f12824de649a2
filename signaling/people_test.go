package signaling_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// params are those of a hello of somebody whom people or addUser made.
func params(user string) json.RawMessage {
	b, err := json.Marshal(map[string]string{"userid": user, "ticket": "ticket-of-" + user})
	if err != nil {
		panic(err)
	}
	return b
}

// come connects a user to a node and says hello.
func (c *cluster) come(n *testNode, user string, features ...string) *signalingtest.Client {
	c.t.Helper()
	client := signalingtest.Dial(c.t, n.url())
	client.Welcome()
	client.Hello(c.nextcloud.AuthURL(), params(user), features...)
	return client
}

// enter is come, and joins the room.
func (c *cluster) enter(n *testNode, user string, features ...string) *signalingtest.Client {
	c.t.Helper()
	client := c.come(n, user, features...)
	client.Join("room", roomSession(user))
	client.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	return client
}

func roomSession(user string) wire.RoomSessionID { return wire.RoomSessionID("nc-" + user) }

// expectJoin waits until the client has heard that the session joined.
func expectJoin(client *signalingtest.Client, id store.SessionID) {
	client.Expect("join of another", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Target == wire.TargetRoom && m.Event.Type == wire.EventJoin &&
			slices.ContainsFunc(m.Event.Join, func(e wire.SessionEntry) bool { return e.SessionID == id })
	})
}

func expectLeave(client *signalingtest.Client, id store.SessionID) {
	client.Expect("leave of another", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Type == wire.EventLeave && slices.Contains(m.Event.Leave, id)
	})
}

// comesOrGoes is an event that tells of a join or a leave.
func comesOrGoes(m *wire.ServerMessage) bool {
	return m.Event != nil && m.Event.Target == wire.TargetRoom && (m.Event.Type == wire.EventJoin || m.Event.Type == wire.EventLeave)
}

// hears checks that a message of one reaches the other through the room, and
// that nothing about people coming or going came before it.
func hears(t *testing.T, from, to *signalingtest.Client, text string) {
	t.Helper()
	from.Say(wire.Recipient{Type: wire.ToRoom}, map[string]string{"type": "text", "text": text})
	to.Expect("message "+text, func(m *wire.ServerMessage) bool {
		var data struct{ Text string }
		return m.Message != nil && json.Unmarshal(m.Message.Data, &data) == nil && data.Text == text
	})
	to.ExpectNone("join or leave", comesOrGoes)
}

// eventually waits for something that no message tells of.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(signalingtest.Patience)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, signalingtest.Patience)
		}
		time.Sleep(5 * time.Millisecond) // polling: there is no event for it
	}
}
