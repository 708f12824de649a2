package signaling_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestSeveralURLs: people who come to a Nextcloud by different URLs are in one room,
// on whatever nodes, and the Nextcloud is asked about each by the URL they came by:
// also by the home, and by a node that goes on with a session. A call that it asks for
// bears the URL of its own request.
func TestSeveralURLs(t *testing.T) {
	c := newCluster(t, 3, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.BackendPing = 50 * time.Millisecond })
	people(c)
	c.pin("room", c.nodes[2])
	in := c.nextcloud.Instance()
	also := strings.Replace(in.URL, "127.0.0.1", "localhost", 1)
	in.MoreURLs = []string{also}
	for _, r := range c.registries {
		if err := r.Set([]backend.Instance{in}); err != nil {
			t.Fatal(err)
		}
	}
	as := func(kind, action, url string, who wire.RoomSessionID) {
		t.Helper()
		c.nextcloud.ExpectQuestion(kind+" "+action+" by "+url, func(q signalingtest.Question) bool {
			return q.Kind == kind && q.Action == action && q.Header.Get(backend.HeaderBackend) == url+"/" &&
				(q.SessionID == who || len(q.Entries) == 1 && q.Entries[0].SessionID == who)
		})
	}
	alice := c.enter(c.nodes[0], "alice")
	bob := signalingtest.Dial(t, c.nodes[1].url())
	bob.Welcome()
	bob.Hello(also+signalingtest.Endpoint, params("bob"), wire.ClientResumeMedia)
	bob.Join("room", "nc-bob")
	expectJoin(alice, bob.Session)
	as("auth", "", also, "")
	as("room", "join", also, "nc-bob")
	as("ping", "", also, "nc-bob")
	as("ping", "", in.URL, "nc-alice")

	bridge := signalingtest.Dial(t, c.nodes[0].url())
	bridge.Welcome()
	bridge.HelloInternal(internalSecret, also, wire.ClientStartDialout)
	bridge.Internal(wire.Internal{Type: wire.InternalAdd, AddSession: &wire.AddSession{
		SessionID: "phone", RoomID: "room", User: json.RawMessage(`{"displayname":"Phone"}`),
	}})
	c.nextcloud.ExpectQuestion("a virtual session", func(q signalingtest.Question) bool {
		return q.Kind == "session" && q.Action == "add" && q.Header.Get(backend.HeaderBackend) == also+"/"
	})
	alice.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	h := http.Header{}
	backend.Sign(h, []byte(secret), also+"/", []byte(dialDora))
	done := make(chan posted, 1)
	go func() {
		status, text := c.nextcloud.PostHeader(c.nodes[2].url(), "room", h, []byte(dialDora))
		done <- posted{status, text}
	}()
	call := bridge.ExpectType(wire.TypeInternal)
	if call.Internal.Dialout.Backend != also+"/" {
		t.Errorf("a call for %s", call.Internal.Dialout.Backend)
	}
	answer(bridge, call.ID, wire.DialoutAnswer{Type: wire.DialoutStatus, RoomID: "room", Status: &wire.CallStatus{CallID: "1", Status: "accepted"}})
	expectPosted(t, "accepted", done, 200, `{"type":"dialout","dialout":{"callid":"1"}}`)
	bob.Barrier()
	bob.Drain()

	c.nodes[1].kill()
	bob = resumed(t, c.nodes[0], bob, wire.Resumed{Room: "room"})
	hears(t, bob, alice, "back")
	bob.Leave()
	as("room", "leave", also, "nc-bob")
}
