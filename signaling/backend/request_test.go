package backend

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talkd/talkd/signaling/wire"
)

func decode(t *testing.T, body string) Request {
	t.Helper()
	r, err := DecodeRequest([]byte(body))
	if err != nil {
		t.Fatalf("DecodeRequest(%s): %v", body, err)
	}
	return r
}

func TestDecodeInCall(t *testing.T) {
	const user = `{"inCall":7,"lastPing":1700000000,"sessionId":"nc1","userId":"u","participantPermissions":254,"actorType":"users","nested":{"a":[1]}}`
	r := decode(t, `{"type":"incall","incall":{"incall":7,"changed":[`+user+`],"users":[`+user+`,{"sessionId":"0","inCall":0},{"sessionId":0,"inCall":"x","permissions":7},{}]}}`)
	if r.InCall.InCall != 7 || r.InCall.All || len(r.InCall.Changed) != 1 || len(r.InCall.Users) != 4 {
		t.Fatalf("%+v", r.InCall)
	}
	p := r.InCall.Users[0]
	if p.SessionID != "nc1" || p.UserID != "u" || p.InCall == nil || *p.InCall != 7 || !p.InCall.InCall() || !p.Present() || p.Permissions != nil {
		t.Errorf("%+v", p)
	}
	public, err := json.Marshal(p.Public("sig1"))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"actorType":"users","inCall":7,"lastPing":1700000000,"nested":{"a":[1]},"nextcloudSessionId":"nc1","participantPermissions":254,"sessionId":"sig1","userId":"u"}`
	if string(public) != want {
		t.Errorf("public: %s\nwant %s", public, want)
	}
	if back, err := json.Marshal(p); err != nil || !strings.Contains(string(back), `"sessionId":"nc1"`) {
		t.Errorf("Public changed the entry: %s, %v", back, err)
	}
	for i, p := range r.InCall.Users[1:] {
		if p.Present() {
			t.Errorf("entry %d counts as present: %+v", i+1, p)
		}
	}
	if odd := r.InCall.Users[2]; odd.InCall != nil || odd.Permissions != nil {
		t.Errorf("odd types were taken: %+v", odd)
	}
}

func TestDecodeInCallAll(t *testing.T) {
	r := decode(t, `{"type":"incall","incall":{"incall":0,"all":true}}`)
	if !r.InCall.All || r.InCall.InCall != 0 || r.InCall.InCall.InCall() {
		t.Errorf("%+v", r.InCall)
	}
	if r := decode(t, `{"type":"incall","incall":{"incall":true,"all":true}}`); r.InCall.InCall != FlagInCall {
		t.Errorf("true became %d", r.InCall.InCall)
	}
	if r := decode(t, `{"type":"incall","incall":{"incall":false,"all":true}}`); r.InCall.InCall != 0 {
		t.Errorf("false became %d", r.InCall.InCall)
	}
}

func TestDecodeParticipants(t *testing.T) {
	r := decode(t, `{"type":"participants","participants":{"changed":[{"sessionId":"a","permissions":["control","publish-audio"]},{"sessionId":"b","permissions":[]}]}}`)
	if diff := cmp.Diff([]string{"control", "publish-audio"}, r.Participants.Changed[0].Permissions); diff != "" {
		t.Error(diff)
	}
	if p := r.Participants.Changed[1].Permissions; p == nil || len(p) != 0 {
		t.Errorf("no permission at all became %v: everything", p)
	}
}

func TestDecodeOthers(t *testing.T) {
	if r := decode(t, `{"type":"message","message":{"data":{"type":"chat","chat":{"refresh":true}}}}`); string(r.Message.Data) != `{"type":"chat","chat":{"refresh":true}}` {
		t.Errorf("data %s", r.Message.Data)
	}
	if r := decode(t, `{"type":"delete","delete":{"userids":["a","b"]}}`); len(r.Delete.UserIDs) != 2 {
		t.Errorf("%+v", r.Delete)
	}
	if r := decode(t, `{"type":"invite","invite":{"userids":["a"],"alluserids":["a","b"],"properties":{"name":"R"}}}`); len(r.Invite.AllUserIDs) != 2 || string(r.Invite.Properties) != `{"name":"R"}` {
		t.Errorf("%+v", r.Invite)
	}
	if r := decode(t, `{"type":"disinvite","disinvite":{"userids":["a"],"sessionids":["s"]}}`); r.Disinvite.SessionIDs[0] != "s" {
		t.Errorf("%+v", r.Disinvite)
	}
	if r := decode(t, `{"type":"dialout","dialout":{"number":"+49301","options":[]}}`); r.Dialout.Number != "+49301" || r.Dialout.Options != nil {
		t.Errorf("%+v", r.Dialout)
	}
	if r := decode(t, `{"type":"update","update":{"userids":["a"],"properties":{}}}`); r.Update.UserIDs[0] != "a" {
		t.Errorf("%+v", r.Update)
	}
	if r := decode(t, `{"type":"transient","transient":{"action":"set","key":"k","value":[1],"ttl":1000}}`); r.Transient.TTL != 1000 || string(r.Transient.Value) != "[1]" || r.Transient.Removes() {
		t.Errorf("%+v", r.Transient)
	}
	for _, body := range []string{`{"action":"delete","key":"k"}`, `{"action":"set","key":"k","value":null}`} {
		if r := decode(t, `{"type":"transient","transient":`+body+`}`); !r.Transient.Removes() {
			t.Errorf("%+v", r.Transient)
		}
	}
	for body, want := range map[string]SwitchSessions{
		`["a","b"]`:              {"a": nil, "b": nil},
		`[]`:                     {},
		`{"a":{"x":1},"b":null}`: {"a": json.RawMessage(`{"x":1}`), "b": nil},
		` [ "a" ] `:              {"a": nil},
	} {
		r := decode(t, `{"type":"switchto","switchto":{"roomid":"r","sessions":`+body+`}}`)
		if diff := cmp.Diff(want, r.SwitchTo.Sessions); diff != "" {
			t.Errorf("%s: %s", body, diff)
		}
	}
}

func TestDecodeRequestRefuses(t *testing.T) {
	long := strings.Repeat("n", maxName+1)
	many := `["a"` + strings.Repeat(`,"a"`, maxEntries) + `]`
	for _, c := range []struct {
		name, body string
		want       error
	}{
		{"nothing", ``, ErrBadRequest},
		{"not JSON", `{"type"`, ErrBadRequest},
		{"not UTF-8", "{\"type\":\"message\",\"message\":{\"data\":\"\xff\"}}", ErrBadRequest},
		{"too deep", `{"type":"message","message":{"data":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}}`, wire.ErrTooDeep},
		{"too large", `{"type":"` + strings.Repeat("x", MaxRequest) + `"}`, wire.ErrTooLarge},
		{"no type", `{}`, ErrBadRequest},
		{"null", `null`, ErrBadRequest},
		{"dialout without a body", `{"type":"dialout"}`, ErrBadRequest},
		{"dialout without a number", `{"type":"dialout","dialout":{}}`, ErrBadNumber},
		{"dialout, options too large", `{"type":"dialout","dialout":{"number":"1","options":{"a":"` + strings.Repeat("a", maxOptions) + `"}}}`, ErrBadRequest},
		{"unknown type", `{"type":"dance","dance":{}}`, ErrUnknownRequest},
		{"no body", `{"type":"incall"}`, ErrBadRequest},
		{"body of another type", `{"type":"incall","delete":{}}`, ErrBadRequest},
		{"participants without body", `{"type":"participants"}`, ErrBadRequest},
		{"message without data", `{"type":"message","message":{}}`, ErrBadRequest},
		{"message, data null", `{"type":"message","message":{"data":null}}`, ErrBadRequest},
		{"switchto without room", `{"type":"switchto","switchto":{"sessions":[]}}`, ErrBadRequest},
		{"switchto, sessions of a wrong type", `{"type":"switchto","switchto":{"roomid":"r","sessions":1}}`, ErrBadRequest},
		{"switchto, session too long", `{"type":"switchto","switchto":{"roomid":"r","sessions":["` + long + `"]}}`, ErrBadRequest},
		{"incall of a wrong type", `{"type":"incall","incall":{"incall":"x"}}`, ErrBadRequest},
		{"incall beyond all numbers", `{"type":"incall","incall":{"incall":1e99}}`, ErrBadRequest},
		{"users of a wrong type", `{"type":"incall","incall":{"users":["u"]}}`, ErrBadRequest},
		{"transient without action", `{"type":"transient","transient":{"key":"k","value":1}}`, ErrBadRequest},
		{"transient without key", `{"type":"transient","transient":{"action":"delete"}}`, ErrBadRequest},
		{"transient, value too long", `{"type":"transient","transient":{"action":"set","key":"k","value":"` + strings.Repeat("v", wire.MaxTransientValue) + `"}}`, ErrBadRequest},
		{"user id too long", `{"type":"delete","delete":{"userids":["` + long + `"]}}`, ErrBadRequest},
		{"too many user ids", `{"type":"update","update":{"userids":` + many + `}}`, ErrBadRequest},
		{"session id too long", `{"type":"incall","incall":{"users":[{"sessionId":"` + long + `"}]}}`, ErrBadRequest},
		{"too many users", `{"type":"participants","participants":{"users":[{}` + strings.Repeat(`,{}`, maxEntries) + `]}}`, ErrBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := DecodeRequest([]byte(c.body)); !errors.Is(err, c.want) {
				t.Errorf("DecodeRequest: %v, want %v", err, c.want)
			}
		})
	}
}

// FuzzDecodeRequest: what was taken travels to another node and is the same
// there, and can be told to clients.
func FuzzDecodeRequest(f *testing.F) {
	for _, seed := range []string{
		`{"type":"incall","incall":{"incall":7,"changed":[{"sessionId":"a","inCall":7}],"users":[{"sessionId":"a","inCall":7,"userId":"u"}]}}`,
		`{"type":"incall","incall":{"incall":0,"all":true}}`,
		`{"type":"participants","participants":{"changed":[{"sessionId":"a","permissions":["control"]}]}}`,
		`{"type":"message","message":{"data":{"type":"chat","chat":{"refresh":true}}}}`,
		`{"type":"delete","delete":{"userids":["u"]}}`,
		`{"type":"disinvite","disinvite":{"sessionids":["a"]}}`,
		`{"type":"invite","invite":{"userids":["u"],"alluserids":["u","v"],"properties":{"name":"R"}}}`,
		`{"type":"update","update":{"userids":["u"],"properties":{"name":"R"}}}`,
		`{"type":"switchto","switchto":{"roomid":"s","sessions":["a"]}}`,
		`{"type":"switchto","switchto":{"roomid":"s","sessions":{"a":{"n":1}}}}`,
		`{"type":"transient","transient":{"action":"set","key":"k","value":1,"ttl":1000000000}}`,
		`{"type":"dialout","dialout":{"number":"+49301","options":{"caller":"+49302"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := DecodeRequest(body)
		if err != nil {
			return
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > MaxRequest {
			return
		}
		again, err := DecodeRequest(text)
		if err != nil {
			t.Fatalf("written again: %v: %s", err, text)
		}
		if b, err := json.Marshal(again); err != nil || string(b) != string(text) {
			t.Fatalf("not the same twice: %s, %s", text, b)
		}
		if r.InCall != nil {
			users := make([]wire.Participant, len(r.InCall.Users))
			for i, p := range r.InCall.Users {
				users[i] = p.Public("s")
			}
			var event wire.ServerMessage
			if err := json.Unmarshal(wire.Encode(wire.ParticipantsEvent("r", users)), &event); err != nil || event.Event == nil {
				t.Fatalf("cannot be told: %v, %+v", err, event.Error)
			}
		}
	})
}
