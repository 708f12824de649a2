package federation

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/talkd/talkd/signaling/wire"
)

func testNames() *names {
	return &names{here: "near", there: "far", room: "mine", far: "room", ownCloud: "own.example/cloud", farCloud: "far.example"}
}

// TestInward: what of the words of another server reaches the client, and how.
func TestInward(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"a message":               {`{"type":"message","message":{"sender":{"type":"session","sessionid":"x"},"data":{"to":"far","z":"afar","n":1.50}}}`, `{"message":{"sender":{"type":"session","sessionid":"x"},"data":{"to":"near","z":"afar","n":1.50}},"type":"message"}`},
		"with an id":              {`{"id":"1","type":"control","control":{"data":"<&>"}}`, `{"control":{"data":"<&>"},"id":"1","type":"control"}`},
		"session data":            {`{"type":"transient","transient":{"key":"sd:far"}}`, `{"transient":{"key":"sd:near"},"type":"transient"}`},
		"a message of two bodies": {`{"type":"message","message":{},"bye":{"reason":"x"}}`, `{"message":{},"type":"message"}`},
		"a list of users": {
			`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"room","users":[{"sessionId":"far","actorType":"federated_users","actorId":"bob@own.example/cloud"},{"sessionId":"s","actorType":"users","actorId":"al<ice"},{"actorType":"federated_users","actorId":"eve@third.example"},{"actorType":"guests","actorId":"g"},{"internal":true}]}}}`,
			`{"event":{"target":"participants","type":"update","update":{"roomid":"mine","users":[{"actorId":"bob","actorType":"users","sessionId":"near"},{"actorId":"al<ice@far.example","actorType":"federated_users","sessionId":"s"},{"actorId":"eve@third.example","actorType":"federated_users"},{"actorId":"g","actorType":"guests"},{"internal":true}]}},"type":"event"}`,
		},
		"flags":                   {`{"type":"event","event":{"target":"participants","type":"flags","flags":{"roomid":"room","sessionid":"s","flags":1}}}`, `{"event":{"flags":{"flags":1,"roomid":"mine","sessionid":"s"},"target":"participants","type":"flags"},"type":"event"}`},
		"another room":            {`{"type":"event","event":{"target":"room","type":"switchto","switchto":{"roomid":"other"}}}`, `{"event":{"switchto":{"roomid":"other"},"target":"room","type":"switchto"},"type":"event"}`},
		"out of the room":         {`{"type":"event","event":{"target":"roomlist","type":"disinvite","disinvite":{"roomid":"room"}}}`, `{"event":{"disinvite":{"roomid":"mine"},"target":"roomlist","type":"disinvite"},"type":"event"}`},
		"an event not yet known":  {`{"type":"event","event":{"target":"room","type":"dance","dance":[1]}}`, `{"event":{"dance":[1],"target":"room","type":"dance"},"type":"event"}`},
		"left":                    {`{"type":"room","room":{"roomid":""}}`, `{"type":"room","room":{"roomid":""}}`},
		"other properties":        {`{"type":"room","room":{"roomid":"room","properties":{"a":1},"home":"n7"}}`, `{"type":"room","room":{"roomid":"mine","properties":{"a":1}}}`},
		"an error":                {`{"id":"1","type":"error","error":{"code":"not_allowed","message":"no\u0007"}}`, `{"id":"1","type":"error","error":{"code":"not_allowed","message":"no"}}`},
		"an error that is none":   {`{"type":"error","error":{"code":"Not A Code"}}`, `{"type":"error","error":{"code":"federation_error","message":"no connection to the other server"}}`},
		"a message of a text":     {`{"type":"message","message":"x"}`, ``},
		"no body":                 {`{"type":"message"}`, ``},
		"an event of a text":      {`{"type":"event","event":"x"}`, ``},
		"an event without a type": {`{"type":"event","event":{"target":"room"}}`, ``},
		"its list of rooms":       {`{"type":"event","event":{"target":"roomlist","type":"invite","invite":{"roomid":"other"}}}`, ``},
		"its nodes":               {`{"type":"event","event":{"target":"room","type":"update","update":{"roomid":"room","home":"n7"}}}`, ``},
		"a federation of its own": {`{"type":"event","event":{"target":"room","type":"federation_interrupted"}}`, ``},
		"another target":          {`{"type":"event","event":{"target":"media","type":"shed","shed":{}}}`, ``},
		"a hello":                 {`{"type":"hello","hello":{"sessionid":"x"}}`, ``},
		"a move":                  {`{"type":"move","move":{"url":"wss://x.example"}}`, ``},
		"pong":                    {`{"type":"pong"}`, ``},
		"two types":               {`{"type":"message","message":{},"Type":"bye"}`, `{"message":{},"type":"message"}`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := hear([]byte(c.said))
			if err != nil {
				t.Fatal(err)
			}
			if got := testNames().inward(m); string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOutward(t *testing.T) {
	got := testNames().outward([]byte(`{"to":"near","key":"sd:near","text":"near and far","near":["near"]}`))
	if want := `{"to":"far","key":"sd:far","text":"near and far","far":["far"]}`; string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestCloudOf(t *testing.T) {
	for url, want := range map[string]string{
		"https://c.example":      "c.example",
		"https://c.example/":     "c.example",
		"http://c.example:8080/": "c.example:8080",
		"https://c.example/nextcloud/ocs/v2.php/apps/spreed/api/v3/signaling/backend": "c.example/nextcloud",
		"https://c.example/index.php/": "c.example",
		"":                             "",
	} {
		if got := cloudOf(url); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

// TestGivenUp: a server that cannot be reached for a minute.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(dialer(), seat("%"), nil)
		start := time.Now()
		_, err := l.reconnect(t.Context(), &joined{})
		if took := time.Since(start); wire.ErrorFor(err).Code != wire.CodeFederationFailed || took != giveUp {
			t.Errorf("after %v: %v", took, err)
		}
		// Who leaves meanwhile does not wait.
		l.Close()
		start = time.Now()
		if _, err := l.reconnect(t.Context(), &joined{}); err == nil || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

// FuzzInward: whatever another server says, the client gets a frame of a type that it
// may get, or nothing.
func FuzzInward(f *testing.F) {
	for _, seed := range []string{
		welcome, hello, room, interrupted,
		`{"type":"message","message":{"sender":{"type":"session","sessionid":"far"},"data":{"to":"far"}}}`,
		`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"room","users":[{"sessionId":"far","actorType":"users","actorId":"u"}]}}}`,
		`{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"far"}]}}`,
		`{"type":"event","event":{"target":"roomlist","type":"disinvite","disinvite":{"roomid":"room"}}}`,
		`{"id":"1","type":"error","error":{"code":"not_allowed","message":"x","details":{}}}`,
		`{"type":"transient","transient":{"type":"initial","data":{"sd:far":1}}}`,
		`{"type":"bye","bye":{"reason":"room_session_reconnected"}}`,
	} {
		f.Add([]byte(seed))
	}
	allowed := map[string]bool{
		wire.TypeMessage: true, wire.TypeControl: true, wire.TypeTransient: true, wire.TypeEvent: true, wire.TypeRoom: true, wire.TypeError: true,
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := hear(frame)
		if err != nil {
			return
		}
		_ = validID(m.Hello.SessionID)
		out := testNames().inward(m)
		if out == nil {
			return
		}
		var got struct {
			Type string `json:"type"`
		}
		if !json.Valid(out) || !utf8.Valid(out) || json.Unmarshal(out, &got) != nil || !allowed[got.Type] {
			t.Fatalf("%q becomes %q", frame, out)
		}
		if got.Type != wire.TypeError && bytes.Contains(out, []byte(`"far"`)) {
			t.Fatalf("%q keeps the id: %q", frame, out)
		}
	})
}
