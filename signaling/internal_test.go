package signaling_test

import (
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// service connects an internal client to a node.
func (c *cluster) service(n *testNode, features ...string) *signalingtest.Client {
	c.t.Helper()
	client := signalingtest.Dial(c.t, n.url())
	client.Welcome()
	client.HelloInternal(internalSecret, c.nextcloud.URL(), features...)
	return client
}

// addVirtual brings somebody on the phone into the room, and says what the session is
// there, as another client hears it.
func addVirtual(bridge, listener *signalingtest.Client, a wire.AddSession) store.SessionID {
	a.RoomID = "room"
	bridge.Internal(wire.Internal{Type: wire.InternalAdd, AddSession: &a})
	return listener.ExpectEvent(wire.TargetRoom, wire.EventJoin).Join[0].SessionID
}

func expectFlags(t *testing.T, client *signalingtest.Client, id store.SessionID, flags uint32) {
	t.Helper()
	got := client.ExpectEvent(wire.TargetParticipants, wire.EventFlags).Flags
	if got.RoomID != "room" || got.SessionID != id || got.Flags != flags {
		t.Errorf("flags %+v, want %d", got, flags)
	}
}

// expectInCall waits until the client has heard those flags of all the sessions.
func expectInCall(client *signalingtest.Client, inCall string, ids ...store.SessionID) {
	left := make(map[string]bool, len(ids))
	for _, id := range ids {
		left[strconv.Quote(string(id))] = true
	}
	for len(left) > 0 {
		client.Expect("flags "+inCall, func(m *wire.ServerMessage) bool {
			if m.Event == nil || m.Event.Type != wire.EventUpdate || m.Event.Target != wire.TargetParticipants {
				return false
			}
			before := len(left)
			for _, u := range m.Event.Update.Users {
				if id := string(u["sessionId"]); string(u["inCall"]) == inCall {
					delete(left, id)
				}
			}
			return len(left) < before
		})
	}
}

// TestInternalSecret has who is not let in as a service.
func TestInternalSecret(t *testing.T) {
	none := func(cfg *signaling.Config, _ *signaling.Deps) { cfg.InternalSecret = "" }
	strict := func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false }
	embedded := func(_ *signaling.Config, d *signaling.Deps) { d.Embedded = newEmbedded() }
	random := "0123456789abcdef0123456789abcdef"
	ask := func(n *testNode, token, backendURL string) wire.ServerMessage {
		client := signalingtest.Dial(t, n.url())
		params, err := json.Marshal(wire.InternalAuth{Random: random, Token: token, Backend: backendURL})
		if err != nil {
			t.Fatal(err)
		}
		return client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
			Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthInternal, Params: params},
		}})
	}
	good := backend.Checksum([]byte(internalSecret), random, nil)
	refused := func(what string, answer wire.ServerMessage, code wire.Code) {
		t.Helper()
		if answer.Error == nil || answer.Error.Code != code {
			t.Errorf("%s: %s", what, wire.Encode(answer))
		}
	}
	for _, token := range []string{backend.Checksum(nil, random, nil), backend.Checksum([]byte(secret), random, nil), good} {
		refused("no secret", ask(newCluster(t, 1, none).nodes[0], token, ""), wire.CodeClientType)
	}
	n := newCluster(t, 1, embedded).nodes[0]
	refused("several backends", ask(n, good, ""), wire.CodeInvalidBackend)
	if answer := ask(n, good, n.url()); answer.Hello == nil {
		t.Errorf("embedded backend: %s", wire.Encode(answer))
	}
	n = newCluster(t, 1, strict).nodes[0]
	guesses := 0
	for ask(n, backend.Checksum([]byte(secret), random, nil), "").Error.Code == wire.CodeInvalidToken {
		if guesses++; guesses > 100 {
			t.Fatal("guesses without an end")
		}
	}
	refused("guessed too often", ask(n, good, ""), wire.CodeTooManyRequests)
}

// TestInternalStays: a service is where it has come to, whatever its client could do.
func TestInternalStays(t *testing.T) {
	c := newCluster(t, 3, quick)
	people(c)
	c.pin("room", c.nodes[0])
	bridge := c.service(c.nodes[1], wire.ClientRedirect, wire.ClientMove, wire.ClientResumeMedia)
	bridge.Join("room", "")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if left := c.nodes[1].hub.Drain(ctx); left.Sessions != 1 {
		t.Errorf("left %+v", left)
	}
	bridge.Barrier()
	bridge.ExpectNone("move", func(m *wire.ServerMessage) bool { return m.Move != nil })
	alice := c.enter(c.nodes[0], "alice")
	alice.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	c.nodes[1].kill()
	_, answer := back(t, c.nodes[2], bridge, wire.ClientResumeMedia)
	if answer.Error == nil || answer.Error.Code != wire.CodeNoSuchSession {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	expectLeave(alice, bridge.Session)
	for _, q := range c.nextcloud.Questions() {
		if q.Kind == "room" && q.SessionID != "nc-alice" {
			t.Errorf("the backend was asked: %+v", q)
		}
	}
}

// TestInternalMedia: a service hears everybody, and is heard.
func TestInternalMedia(t *testing.T) {
	c, alice, bob, _ := call(t)
	mixer := c.service(c.nodes[1])
	mixer.Join("room", "")
	expectInCall(alice, "3", mixer.Session)
	mixer.Media(alice.Session, requestOffer("video"))
	alice.Media(alice.Session, offer("video", "1"))
	alice.ExpectMedia(wire.MediaAnswer)
	if edge := expectOffer(t, mixer, alice.Session, "video"); edge != "n1" {
		t.Errorf("published at %q", edge)
	}
	mixer.Media(mixer.Session, offer("video", "1"))
	mixer.ExpectMedia(wire.MediaAnswer)
	bob.Media(mixer.Session, requestOffer("video"))
	if edge := expectOffer(t, bob, mixer.Session, "video"); edge != "n2" {
		t.Errorf("published at %q", edge)
	}
	// A call in which only services are left is over.
	c.nextcloud.InCallAll(c.nodes[0].url(), "room", 0)
	alice.Expect("end", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Update != nil && m.Event.Update.All })
	status, err := c.nodes[2].hub.RoomStatus(t.Context(), c.room("room"))
	if err != nil || len(status.Sessions) != 3 || !status.Since.IsZero() {
		t.Errorf("status %+v, %v", status, err)
	}
}
