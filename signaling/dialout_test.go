package signaling_test

import (
	"encoding/json"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

type posted struct {
	status int
	text   string
}

// dialout posts a request to a node, and gives the answer when it is there.
func (c *cluster) dialout(n *testNode, body string) <-chan posted {
	done := make(chan posted, 1)
	go func() {
		status, text := c.nextcloud.Post(n.url(), "room", []byte(body))
		done <- posted{status, text}
	}()
	return done
}

func expectPosted(t *testing.T, what string, done <-chan posted, status int, text string) {
	t.Helper()
	got := <-done
	if got.status != status || !sameJSON(t, got.text, text) {
		t.Errorf("%s: %d %s, want %d %s", what, got.status, got.text, status, text)
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Errorf("%v in %s", err, a)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	if m, ok := x.(map[string]any)["dialout"].(map[string]any); ok {
		if e, ok := m["error"].(map[string]any); ok {
			delete(e, "message")
		}
	}
	first, _ := json.Marshal(x)
	second, _ := json.Marshal(y)
	return string(first) == string(second)
}

const dialDora = `{"type":"dialout","dialout":{"number":"+49301","options":{"attendeeId":"7","caller":"+49302"}}}`

// TestDialout: a backend asks one node, and a bridge at another one makes the call.
func TestDialout(t *testing.T) {
	c := newCluster(t, 3)
	people(c)
	expectPosted(t, "nobody makes calls", c.dialout(c.nodes[0], dialDora), 404, `{"type":"dialout","dialout":{"error":{"code":"no_client_available"}}}`)
	c.service(c.nodes[1]) // which cannot do so either
	expectPosted(t, "nobody makes calls", c.dialout(c.nodes[0], dialDora), 404, `{"type":"dialout","dialout":{"error":{"code":"no_client_available"}}}`)
	for name, number := range map[string]string{"none": "", "letters": "+49abc", "too long": "+123456789012345678901", "only a plus": "+"} {
		expectPosted(t, name, c.dialout(c.nodes[0], `{"type":"dialout","dialout":{"number":"`+number+`"}}`), 400, `{"type":"dialout","dialout":{"error":{"code":"invalid_number"}}}`)
	}

	c.pin("room", c.nodes[1])
	alice := c.enter(c.nodes[0], "alice")
	bridge := c.service(c.nodes[2], wire.ClientStartDialout)
	for _, n := range c.nodes {
		done := c.dialout(n, dialDora)
		m := bridge.ExpectType(wire.TypeInternal)
		asked := m.Internal.Dialout
		if m.ID == "" || m.Internal.Type != "dialout" || asked.RoomID != "room" || asked.Backend != c.nextcloud.URL()+"/" ||
			asked.Request.Number != "+49301" || string(asked.Request.Options) != `{"attendeeId":"7","caller":"+49302"}` {
			t.Errorf("asked %s", wire.Encode(m))
		}
		answer(bridge, "of another question", wire.DialoutAnswer{Type: wire.DialoutStatus, Status: &wire.CallStatus{CallID: "other", Status: "accepted"}})
		answer(bridge, m.ID, wire.DialoutAnswer{Type: wire.DialoutStatus, RoomID: "room", Status: &wire.CallStatus{CallID: "call-1", Status: "accepted"}})
		expectPosted(t, "accepted", done, 200, `{"type":"dialout","dialout":{"callid":"call-1"}}`)
		// How far the call is comes to those in the room.
		expectCall(t, alice, "call-1", `{"callid":"call-1","status":"accepted"}`)
		for _, s := range []wire.CallStatus{{CallID: "call-1", Status: "ringing"}, {CallID: "call-1", Status: "connected"}, {CallID: "call-1", Status: "cleared", Cause: "hung up", Code: 16}} {
			answer(bridge, "", wire.DialoutAnswer{Type: wire.DialoutStatus, RoomID: "room", Status: &s})
		}
		expectCall(t, alice, "call-1", `{"callid":"call-1","status":"ringing"}`)
		expectCall(t, alice, "call-1", `{"callid":"call-1","status":"connected"}`)
		expectCall(t, alice, "call-1", `{"callid":"call-1","status":"cleared","cause":"hung up","code":16}`)

		done = c.dialout(n, dialDora)
		m = bridge.ExpectType(wire.TypeInternal)
		answer(bridge, m.ID, wire.DialoutAnswer{Type: wire.DialoutError, Error: &wire.Error{Code: "no_trunk", Message: "not now", Details: json.RawMessage(`{"n":1}`)}})
		expectPosted(t, "an error", done, 502, `{"type":"dialout","dialout":{"error":{"code":"no_trunk","details":{"n":1}}}}`)

		done = c.dialout(n, dialDora)
		m = bridge.ExpectType(wire.TypeInternal)
		answer(bridge, m.ID, wire.DialoutAnswer{Type: wire.DialoutStatus, Status: &wire.CallStatus{CallID: "call-2", Status: "rejected", Message: "forbidden"}})
		expectPosted(t, "rejected", done, 502, `{"type":"dialout","dialout":{"error":{"code":"rejected"}}}`)
	}
	bridge.Bye()
	expectPosted(t, "the bridge has gone", c.dialout(c.nodes[0], dialDora), 404, `{"type":"dialout","dialout":{"error":{"code":"no_client_available"}}}`)
}

// expectCall takes the next state of a call.
func expectCall(t *testing.T, client *signalingtest.Client, callID, value string) {
	t.Helper()
	got := client.Expect("state of a call", func(m *wire.ServerMessage) bool {
		return m.Transient != nil && m.Transient.Type == wire.TransientSet
	}).Transient
	if got.Key != "callstatus_"+callID || !sameJSON(t, string(got.Value), value) {
		t.Errorf("%s %s, want %s", got.Key, got.Value, value)
	}
}

func answer(bridge *signalingtest.Client, id string, a wire.DialoutAnswer) {
	bridge.Send(wire.ClientMessage{ID: id, Type: wire.TypeInternal, Internal: &wire.Internal{Type: wire.InternalDialout, Dialout: &a}})
}

// TestDialoutOfAnotherBackend: a bridge calls nobody for a backend that is not its own.
func TestDialoutOfAnotherBackend(t *testing.T) {
	c := newCluster(t, 2, func(_ *signaling.Config, d *signaling.Deps) { d.Embedded = newEmbedded() })
	people(c)
	bridge := signalingtest.Dial(t, c.nodes[1].url())
	bridge.HelloInternal(internalSecret, c.nodes[0].url(), wire.ClientStartDialout)
	expectPosted(t, "of the embedded backend", c.dialout(c.nodes[0], dialDora), 404, `{"type":"dialout","dialout":{"error":{"code":"no_client_available"}}}`)
}
