package signalingtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

func TestClient(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	c := Dial(t, startEcho(t, nc))
	if c.Welcome().Version != "test" {
		t.Error("welcome not kept")
	}
	if h := c.Hello(nc.AuthURL(), nc.AddUser("alice", "Alice")); c.Session == "" || h.ResumeID != c.Resume {
		t.Errorf("hello not kept: %+v", h)
	}
	c.Join("room", "nc-session")
	c.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 1})
	c.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 2})
	c.Control(wire.Recipient{Type: wire.ToRoom}, map[string]string{"action": "x"})
	c.Media(c.Session, wire.MediaMessage{Type: wire.MediaRequestOffer, RoomType: wire.RoomTypeVideo})

	// Out of order, as they lie in the mailbox.
	if m := c.ExpectMedia(wire.MediaRequestOffer); m.To != c.Session {
		t.Errorf("media %+v", m)
	}
	c.ExpectType(wire.TypeControl)
	if join := c.ExpectEvent(wire.TargetRoom, wire.EventJoin); join.Join[0].SessionID != c.Session {
		t.Errorf("join %+v", join)
	}
	for _, want := range []string{`{"n":1}`, `{"n":2}`} {
		if m := c.Next(); string(m.Message.Data) != want {
			t.Errorf("next is %s, want %s", m.Message.Data, want)
		}
	}
	if m := c.AskJoin("closed", "nc-session"); m.Error == nil || m.Error.Code != wire.CodeNoSuchRoom {
		t.Errorf("closed room: %+v", m)
	}
	c.SendRaw([]byte("{"))
	c.ExpectError(wire.CodeInvalidFormat)
	c.Barrier()
	c.ExpectNone("any more", func(*wire.ServerMessage) bool { return true })
	c.Leave()
	if left := c.Drain(); len(left) > 1 {
		t.Errorf("%d messages drained", len(left))
	}
	c.Bye()
	if status := c.ExpectClose(); status != websocket.StatusNormalClosure {
		t.Errorf("closed with %d", status)
	}
}

func TestDialStatus(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	node := startEcho(t, nc)
	if got := DialStatus(t, node, nil); got != http.StatusSwitchingProtocols {
		t.Errorf("status %d", got)
	}
	if got := DialStatus(t, node, http.Header{"Origin": {"https://evil.example"}}); got != http.StatusForbidden {
		t.Errorf("status %d for a foreign origin", got)
	}
}

func TestSocketURL(t *testing.T) {
	for given, want := range map[string]string{
		"http://127.0.0.1:1":                           "ws://127.0.0.1:1/spreed",
		"https://n1.example/":                          "wss://n1.example/spreed",
		"ws://127.0.0.1:1/standalone-signaling/spreed": "ws://127.0.0.1:1/standalone-signaling/spreed",
		"http://127.0.0.1:1/spreed?room=a":             "ws://127.0.0.1:1/spreed?room=a",
		"http://127.0.0.1:1?room=a":                    "ws://127.0.0.1:1/spreed?room=a",
	} {
		if got := socketURL(given); got != want {
			t.Errorf("socketURL(%s) = %s, want %s", given, got, want)
		}
	}
}

// TestNotify: each kind of request is one that a node takes.
func TestNotify(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	node := startEcho(t, nc)
	caller := Caller{Session: "s", UserID: "alice", InCall: backend.FlagInCall, Permissions: []string{backend.PermissionControl}}
	nc.InCall(node, "room", caller, Caller{Session: "g"})
	nc.InCallAll(node, "room", 0)
	nc.Participants(node, "room", caller)
	nc.Message(node, "room", map[string]string{"type": "chat"})
	nc.Disinvite(node, "room", []string{"alice"}, nil)
	nc.SwitchTo(node, "room", "other", "s")
	nc.Delete(node, "room", "alice")
	if status, _ := nc.PostHeader(node, "room", http.Header{}, []byte(`{"type":"delete","delete":{}}`)); status != http.StatusForbidden {
		t.Errorf("unsigned: status %d", status)
	}
}

func TestStory(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	node := startEcho(t, nc)
	Play(t, filepath.Join("testdata", "story.txt"), Stage{Nodes: []string{node, node}, Nextcloud: nc})
}

func TestUpdate(t *testing.T) {
	nc := NewNextcloud(t, "secret")
	node := startEcho(t, nc)
	file := filepath.Join(t.TempDir(), "story.txt")
	const before = `# kept
@alice
alice< {"type":"welcome","*":"*"}
alice> {"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r"}}
alice< {}

alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<alice.sessionid>"},"data":1}}
alice< {"type":"message","message":{"sender":"wrong"}}
`
	const after = `# kept
@alice
alice< {"type":"welcome","*":"*"}
alice> {"id":"1","type":"hello","hello":{"version":"1.0","resumeid":"r"}}
alice< {"id":"1","type":"hello","hello":{"version":"1.0","sessionid":"<alice.sessionid>","resumeid":"<alice.resumeid>","userid":""}}

alice> {"type":"message","message":{"recipient":{"type":"session","sessionid":"<alice.sessionid>"},"data":1}}
alice< {"type":"message","message":{"sender":{"type":"session","sessionid":"<alice.sessionid>"},"data":1}}
`
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	Play(t, file, Stage{Nodes: []string{node}, Nextcloud: nc, Update: true})
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != after {
		t.Errorf("updated:\n%s", got)
	}
	Play(t, file, Stage{Nodes: []string{node}, Nextcloud: nc})
}

func TestParseTranscriptRefuses(t *testing.T) {
	for _, text := range []string{"hello", "@", "@Alice", "@alice two", "alice>", "alice<", "> {}", "!200 room", "!x room {}", "!> room", "!<", "!< x {}", "a b> {}"} {
		if _, err := parseTranscript([]byte("# fine\n" + text)); err == nil || !strings.Contains(err.Error(), "line 2") && !strings.Contains(err.Error(), "invalid syntax") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		fits          bool
	}{
		{`{"a":1}`, `{"a":1}`, true},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{"a":1.0}`, false}, // numbers as written
		{`{"a":1}`, `{"a":1,"b":2}`, false},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"a":1,"*":"*"}`, `{"a":1,"b":2}`, true},
		{`{"a":"*"}`, `{"a":{"b":[]}}`, true},
		{`{"a":"*"}`, `{}`, false},
		{`[1,"*"]`, `[1,2]`, true},
		{`[1,2]`, `[1]`, false},
		{`[1]`, `{}`, false},
		{`{"a":true,"b":null}`, `{"a":true,"b":null}`, true},
		{`{"a":true}`, `{"a":false}`, false},
		{`{"a":"<x>","b":"<x>"}`, `{"a":"v","b":"v"}`, true},
		{`{"a":"<x>","b":"<x>"}`, `{"a":"v","b":"w"}`, false},
		{`{"a":"<x>"}`, `{"a":1}`, false},
		{`{"a":"<known>"}`, `{"a":"value of it"}`, true},
		{`{"a":"<known>"}`, `{"a":"other"}`, false},
		{`{"a":"has <known>!"}`, `{"a":"has value of it!"}`, true},
		{`{"a":"has <unknown>!"}`, `{"a":"has x!"}`, false},
		{`{"a":""}`, `{"a":""}`, true},
		{`{`, `{}`, false},
		{`{}`, `{`, false},
		{`{}`, `{}{}`, false},
	} {
		n := names{"known": "value of it"}
		if err := n.match([]byte(c.pattern), []byte(c.text)); (err == nil) != c.fits {
			t.Errorf("match(%s, %s): %v", c.pattern, c.text, err)
		}
		if !c.fits && len(n) != 1 {
			t.Errorf("match(%s, %s) learnt %v all the same", c.pattern, c.text, n)
		}
	}
}
