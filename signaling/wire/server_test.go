package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestEncode holds the server's messages as the protocol document has them.
func TestEncode(t *testing.T) {
	properties := json.RawMessage(`{"name":"Team"}`)
	cases := []struct {
		name string
		m    ServerMessage
		want string
	}{
		{"welcome", WelcomeMessage(ServerInfo{Version: "1", Features: []string{FeatureMCU}, Nodes: []NodeRef{{ID: "n1", URL: "wss://n1.example/spreed"}}}),
			`{"type":"welcome","welcome":{"version":"1","features":["mcu"],"nodes":[{"id":"n1","url":"wss://n1.example/spreed"}]}}`},
		{"hello of a guest", ServerMessage{ID: "1", Type: TypeHello, Hello: &HelloReply{Version: "1.0", SessionID: "s", ResumeID: "r"}},
			`{"id":"1","type":"hello","hello":{"version":"1.0","sessionid":"s","resumeid":"r","userid":""}}`},
		{"bye", ServerMessage{ID: "1", Type: TypeBye, Bye: &Bye{}}, `{"id":"1","type":"bye","bye":{}}`},
		{"room", ServerMessage{ID: "1", Type: TypeRoom, Room: &Room{RoomID: "r", Properties: properties, Bandwidth: &Bandwidth{1, 2}}},
			`{"id":"1","type":"room","room":{"roomid":"r","properties":{"name":"Team"},"bandwidth":{"maxstreambitrate":1,"maxscreenbitrate":2}}}`},
		{"left the room", ServerMessage{ID: "1", Type: TypeRoom, Room: &Room{}}, `{"id":"1","type":"room","room":{"roomid":""}}`},
		{"message of a guest", DeliverMessage(Sender{Type: ToSession, SessionID: "s"}, json.RawMessage(`{"a":"<&>"}`)),
			`{"type":"message","message":{"sender":{"type":"session","sessionid":"s"},"data":{"a":"<&>"}}}`},
		{"control", DeliverControl(Sender{Type: ToRoom, SessionID: "s", UserID: "u"}, json.RawMessage(`1`)),
			`{"type":"control","control":{"sender":{"type":"room","sessionid":"s","userid":"u"},"data":1}}`},
		{"join", JoinEvent(SessionEntry{SessionID: "s", UserID: new("u"), User: json.RawMessage(`{"displayname":"U"}`), RoomSessionID: "n"}, SessionEntry{SessionID: "g", RoomSessionID: "m", Features: []string{"f"}}),
			`{"type":"event","event":{"target":"room","type":"join","join":[{"sessionid":"s","userid":"u","user":{"displayname":"U"},"roomsessionid":"n"},{"sessionid":"g","roomsessionid":"m","features":["f"]}]}}`},
		{"leave", LeaveEvent("a", "b"), `{"type":"event","event":{"target":"room","type":"leave","leave":["a","b"]}}`},
		{"room message", RoomMessageEvent("r", json.RawMessage(`{"type":"chat"}`)),
			`{"type":"event","event":{"target":"room","type":"message","message":{"roomid":"r","data":{"type":"chat"}}}}`},
		{"switchto", SwitchToEvent("r", nil), `{"type":"event","event":{"target":"room","type":"switchto","switchto":{"roomid":"r"}}}`},
		{"switchto with details", SwitchToEvent("r", json.RawMessage(`{}`)), `{"type":"event","event":{"target":"room","type":"switchto","switchto":{"roomid":"r","details":{}}}}`},
		{"participants", ParticipantsEvent("r", []Participant{{"sessionId": json.RawMessage(`"s"`), "inCall": json.RawMessage(`7`)}}),
			`{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"r","users":[{"inCall":7,"sessionId":"s"}]}}}`},
		{"end for all", InCallAllEvent("r", 0), `{"type":"event","event":{"target":"participants","type":"update","update":{"roomid":"r","incall":0,"all":true}}}`},
		{"roomlist update", RoomUpdateEvent("r", properties), `{"type":"event","event":{"target":"roomlist","type":"update","update":{"roomid":"r","properties":{"name":"Team"}}}}`},
		{"invite", InviteEvent("r", properties), `{"type":"event","event":{"target":"roomlist","type":"invite","invite":{"roomid":"r","properties":{"name":"Team"}}}}`},
		{"disinvite", DisinviteEvent("r", ReasonDisinvited), `{"type":"event","event":{"target":"roomlist","type":"disinvite","disinvite":{"roomid":"r","reason":"disinvited"}}}`},
		{"shed", ShedEvent(Shed{SessionID: "s", RoomType: RoomTypeVideo, SID: "c", State: ShedPaused}),
			`{"type":"event","event":{"target":"media","type":"shed","shed":{"sessionid":"s","roomType":"video","sid":"c","state":"paused"}}}`},
		{"error", ErrorReply("1", ErrHelloExpected), `{"id":"1","type":"error","error":{"code":"hello_expected","message":"hello expected"}}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Encode(c.m)
			if string(got) != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			var back ServerMessage
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			if again := Encode(back); string(again) != c.want {
				t.Errorf("read and written again: %s", again)
			}
		})
	}
}

func TestEncodeOfBrokenJSON(t *testing.T) {
	got := string(Encode(DeliverMessage(Sender{Type: ToRoom}, json.RawMessage(`{`))))
	if !strings.Contains(got, `"code":"processing_failed"`) {
		t.Errorf("got %s", got)
	}
}

func BenchmarkDecode(b *testing.B) {
	frame := []byte(`{"id":"12","type":"message","message":{"recipient":{"type":"session","sessionid":"abcdefghijklmnopqrstuvwxyz"},"data":{"to":"abcdefghijklmnopqrstuvwxyz","type":"candidate","sid":"1700000000000","roomType":"video","payload":{"candidate":{"candidate":"candidate:1 1 udp 2122260223 192.0.2.1 54321 typ host generation 0 ufrag abcd network-id 1","sdpMid":"0","sdpMLineIndex":0}}}}}`)
	b.ReportAllocs()
	for b.Loop() {
		m, err := Decode(frame)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeMedia(m.Message.Data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := DeliverMessage(Sender{Type: ToRoom, SessionID: "abcdefghijklmnopqrstuvwxyz", UserID: "user"},
		json.RawMessage(`{"type":"raiseHand","roomType":"video","payload":{"state":true,"timestamp":1700000000000}}`))
	b.ReportAllocs()
	for b.Loop() {
		Encode(m)
	}
}

func TestNameless(t *testing.T) {
	for user, want := range map[string]string{
		`{"displayname":"Alice"}`:                ``,
		`{"displayname":"Alice","type":"phone"}`: `{"type":"phone"}`,
		`{"type":"phone"}`:                       `{"type":"phone"}`,
		``:                                       ``,
	} {
		entries := []SessionEntry{{SessionID: "s", User: json.RawMessage(user)}}
		if got := Nameless(entries); string(got[0].User) != want || got[0].SessionID != "s" {
			t.Errorf("%s: %s", user, got[0].User)
		}
		if string(entries[0].User) != user {
			t.Error("the entry itself has changed")
		}
	}
}
