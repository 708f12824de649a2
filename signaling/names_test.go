package signaling_test

import (
	"encoding/json"
	"testing"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestHiddenNames: who is not to know what the others are called is not told so, by
// whatever way; the others are.
func TestHiddenNames(t *testing.T) {
	c := newCluster(t, 2)
	c.nextcloud.AddUser("alice", "Alice")
	c.nextcloud.AddUser("bob", "Bob")
	c.nextcloud.AddUser("carol", "Carol")
	c.nextcloud.SetRoom("room", signalingtest.Room{SessionPermissions: map[wire.RoomSessionID][]string{
		"nc-bob": {backend.PermissionPublishMedia, backend.PermissionHideNames},
	}})
	c.pin("room", c.nodes[0])
	alice := c.enter(c.nodes[0], "alice", wire.ClientChatRelay)
	bob := c.enter(c.nodes[1], "bob", wire.ClientChatRelay)
	carol := c.enter(c.nodes[1], "carol", wire.ClientChatRelay)
	expectName := func(who *signalingtest.Client, of *signalingtest.Client, want string) {
		t.Helper()
		m := who.Expect("join", func(m *wire.ServerMessage) bool {
			return m.Event != nil && m.Event.Type == wire.EventJoin && m.Event.Join[0].SessionID == of.Session
		})
		if got := string(m.Event.Join[0].User); got != want {
			t.Errorf("user %s, want %s", got, want)
		}
	}
	expectName(bob, alice, "")
	expectName(bob, carol, "")
	expectName(alice, bob, `{"displayname":"Bob"}`)
	expectName(alice, carol, `{"displayname":"Carol"}`)
	expectName(carol, alice, `{"displayname":"Alice"}`)

	for _, to := range []wire.Recipient{{Type: wire.ToRoom}, {Type: wire.ToSession, SessionID: bob.Session}} {
		alice.Say(to, map[string]any{"type": "nickChanged", "payload": map[string]string{"name": "Alice II"}})
	}
	carol.Expect("the new name", func(m *wire.ServerMessage) bool { return m.Message != nil && wire.TellsName(m.Message.Data) })
	c.nextcloud.Message(c.nodes[0].url(), "room", json.RawMessage(`{"type":"chat","chat":{"comment":{"actorDisplayName":"Alice"}}}`))
	for client, want := range map[*signalingtest.Client]string{
		bob:   `{"type":"chat","chat":{"refresh":true}}`,
		carol: `{"type":"chat","chat":{"comment":{"actorDisplayName":"Alice"}}}`,
	} {
		if m := client.ExpectEvent(wire.TargetRoom, wire.EventMessage); string(m.Message.Data) != want {
			t.Errorf("chat: %s, want %s", m.Message.Data, want)
		}
	}
	bob.ExpectNone("the new name", func(m *wire.ServerMessage) bool { return m.Message != nil && wire.TellsName(m.Message.Data) })
}
