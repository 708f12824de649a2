package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestDecodeTakesTheProtocol(t *testing.T) {
	frames := map[string]string{
		"hello":               `{"id":"1","type":"hello","hello":{"version":"1.0","auth":{"url":"https://cloud.example/ocs","params":{"ticket":"x"}}}}`,
		"hello of a type":     `{"type":"hello","hello":{"version":"1.0","features":["redirect"],"auth":{"type":"client","url":"https://cloud.example","params":{}}}}`,
		"hello with a ticket": `{"type":"hello","hello":{"version":"1.0","auth":{"type":"ticket","params":{"ticket":"abc"}}}}`,
		"hello, internal":     `{"type":"hello","hello":{"version":"1.0","auth":{"type":"internal","params":{"random":"` + strings.Repeat("r", 32) + `","token":"ab","backend":"https://cloud.example"}}}}`,
		"hello 2.0":           `{"type":"hello","hello":{"version":"2.0","auth":{"url":"https://cloud.example","params":{"token":"a.b.c"}}}}`,
		"add virtual":         `{"type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","userid":"u","user":{"displayname":"U"},"flags":1,"incall":9,"options":{"actorId":"a","actorType":"phones"}}}}`,
		"update virtual":      `{"type":"internal","internal":{"type":"updatesession","updatesession":{"sessionid":"s","roomid":"r","flags":0}}}`,
		"remove virtual":      `{"type":"internal","internal":{"type":"removesession","removesession":{"sessionid":"s","roomid":"r"}}}`,
		"dialout status":      `{"type":"internal","id":"1","internal":{"type":"dialout","dialout":{"type":"status","roomid":"r","status":{"callid":"c","status":"accepted"}}}}`,
		"dialout error":       `{"type":"internal","id":"1","internal":{"type":"dialout","dialout":{"type":"error","error":{"code":"c","message":"m"}}}}`,
		"own flags":           `{"type":"internal","internal":{"type":"incall","incall":{"incall":1}}}`,
		"resume":              `{"type":"hello","hello":{"version":"1.0","resumeid":"r"}}`,
		"bye":                 `{"type":"bye","bye":{}}`,
		"bye without a body":  `{"type":"bye"}`,
		"join":                `{"type":"room","room":{"roomid":"abc","sessionid":"s/+="}}`,
		"join, no federation": `{"type":"room","room":{"roomid":"abc","federation":null}}`,
		"join, far":           `{"type":"room","room":{"roomid":"abc","sessionid":"s","federation":{"signaling":"wss://far.example/s","url":"https://far.example","token":"a.b.c"}}}`,
		"hello, federated":    `{"type":"hello","hello":{"version":"2.0","auth":{"type":"federation","url":"https://cloud.example","params":{"token":"a.b.c"}}}}`,
		"leave":               `{"type":"room","room":{"roomid":""}}`,
		"to a session":        `{"type":"message","message":{"recipient":{"type":"session","sessionid":"s"},"data":{"type":"chat"}}}`,
		"to a user":           `{"type":"message","message":{"recipient":{"type":"user","userid":"Jörg Ä"},"data":"text"}}`,
		"to a room":           `{"type":"message","message":{"recipient":{"type":"room"},"data":[1]}}`,
		"to a call":           `{"type":"message","message":{"recipient":{"type":"call"},"data":{}}}`,
		"control":             `{"type":"control","control":{"recipient":{"type":"session","sessionid":"s"},"data":{"type":"mute"}}}`,
		"set":                 `{"type":"transient","transient":{"type":"set","key":"k","value":{"a":1},"ttl":1000000000}}`,
		"set to nothing":      `{"type":"transient","transient":{"type":"set","key":"k","value":null}}`,
		"remove":              `{"type":"transient","transient":{"type":"remove","key":"sd:s"}}`,
		"unknown members":     `{"type":"bye","bye":{"x":1},"y":[{}]}`,
		"as deep as may be":   `{"type":"message","message":{"recipient":{"type":"room"},"data":` + nest(MaxDepth-2) + `}}`,
	}
	for name, frame := range frames {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode([]byte(frame)); err != nil {
				t.Errorf("Decode(%s): %v", frame, err)
			}
		})
	}
}

func nest(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func TestDecodeRefuses(t *testing.T) {
	const hello = `{"id":"7","type":"hello","hello":`
	cases := []struct {
		name, frame string
		want        error
		id          string
	}{
		{"nothing", ``, ErrFormat, ""},
		{"not JSON", `{"type":`, ErrFormat, ""},
		{"a second value", `{"type":"bye"}{}`, ErrFormat, ""},
		{"null", `null`, ErrFormat, ""},
		{"an array", `[]`, ErrFormat, ""},
		{"a string", `"hello"`, ErrFormat, ""},
		{"no type", `{"id":"7"}`, ErrFormat, "7"},
		{"empty type", `{"id":"7","type":""}`, ErrFormat, "7"},
		{"type of a wrong type", `{"id":"7","type":1}`, ErrFormat, "7"},
		{"id of a wrong type", `{"id":7,"type":"bye"}`, ErrFormat, ""},
		{"unknown type", `{"id":"7","type":"dance"}`, ErrUnknownType, "7"},
		{"id too long", `{"id":"` + strings.Repeat("i", maxID+1) + `","type":"bye"}`, ErrFormat, ""},
		{"id does not print", `{"id":"a\u0000b","type":"bye"}`, ErrFormat, ""},
		{"id with a bidi override", "{\"id\":\"a\\u202eb\",\"type\":\"bye\"}", ErrFormat, ""},
		{"not UTF-8", "{\"id\":\"7\",\"type\":\"message\",\"message\":{\"recipient\":{\"type\":\"room\"},\"data\":\"\xff\"}}", ErrFormat, ""},
		{"too large", `{"type":"bye","x":"` + strings.Repeat("x", MaxFrame) + `"}`, ErrTooLarge, ""},
		{"too deep", `{"id":"7","type":"message","message":{"recipient":{"type":"room"},"data":` + nest(MaxDepth-1) + `}}`, ErrTooDeep, ""},
		{"deep and not JSON", strings.Repeat("[", MaxFrame), ErrTooDeep, ""},

		{"hello without a body", `{"id":"7","type":"hello"}`, ErrFormat, "7"},
		{"hello, body null", hello + `null}`, ErrFormat, "7"},
		{"hello, body of a wrong type", hello + `"x"}`, ErrFormat, "7"},
		{"hello without a version", hello + `{"auth":{"url":"https://c.example","params":{}}}}`, ErrHelloVersion, "7"},
		{"hello of version 3.0", hello + `{"version":"3.0","auth":{"url":"https://c.example","params":{}}}}`, ErrHelloVersion, "7"},
		{"hello without auth", hello + `{"version":"1.0"}}`, ErrFormat, "7"},
		{"hello, auth null", hello + `{"version":"1.0","auth":null}}`, ErrFormat, "7"},
		{"hello without params", hello + `{"version":"1.0","auth":{"url":"https://c.example"}}}`, ErrFormat, "7"},
		{"hello, params null", hello + `{"version":"1.0","auth":{"url":"https://c.example","params":null}}}`, ErrFormat, "7"},
		{"hello, params a list", hello + `{"version":"1.0","auth":{"url":"https://c.example","params":[]}}}`, ErrFormat, "7"},
		{"hello without a url", hello + `{"version":"1.0","auth":{"params":{}}}}`, ErrFormat, "7"},
		{"hello, url too long", hello + `{"version":"1.0","auth":{"url":"https://` + strings.Repeat("c", maxURL) + `","params":{}}}}`, ErrFormat, "7"},
		{"hello 2.0 without a token", hello + `{"version":"2.0","auth":{"url":"https://c.example","params":{}}}}`, ErrFormat, "7"},
		{"hello 2.0, token of a wrong type", hello + `{"version":"2.0","auth":{"url":"https://c.example","params":{"token":1}}}}`, ErrFormat, "7"},
		{"hello 2.0, token too long", hello + `{"version":"2.0","auth":{"url":"https://c.example","params":{"token":"` + strings.Repeat(".", maxToken+1) + `"}}}}`, ErrFormat, "7"},
		{"hello of an unknown type", hello + `{"version":"1.0","auth":{"type":"dancer","params":{}}}}`, ErrClientType, "7"},
		{"hello, empty ticket", hello + `{"version":"1.0","auth":{"type":"ticket","params":{"ticket":""}}}}`, ErrFormat, "7"},
		{"hello, ticket of a wrong type", hello + `{"version":"1.0","auth":{"type":"ticket","params":{"ticket":1}}}}`, ErrFormat, "7"},
		{"hello, ticket too long", hello + `{"version":"1.0","auth":{"type":"ticket","params":{"ticket":"` + strings.Repeat("t", maxToken+1) + `"}}}}`, ErrFormat, "7"},
		{"hello, internal, random too short", hello + `{"version":"1.0","auth":{"type":"internal","params":{"random":"r","token":"t"}}}}`, ErrFormat, "7"},
		{"hello, internal, no token", hello + `{"version":"1.0","auth":{"type":"internal","params":{"random":"` + strings.Repeat("r", 32) + `"}}}}`, ErrFormat, "7"},
		{"hello, too many features", hello + `{"version":"1.0","resumeid":"r","features":["a"` + strings.Repeat(`,"a"`, maxFeatures) + `]}}`, ErrFormat, "7"},
		{"hello, empty feature", hello + `{"version":"1.0","resumeid":"r","features":[""]}}`, ErrFormat, "7"},
		{"hello, resumeid too long", hello + `{"version":"1.0","resumeid":"` + strings.Repeat("r", maxToken+1) + `"}}`, ErrFormat, "7"},

		{"internal without a body", `{"id":"7","type":"internal"}`, ErrFormat, "7"},
		{"internal without a type", `{"id":"7","type":"internal","internal":{}}`, ErrFormat, "7"},
		{"internal of an unknown type", `{"id":"7","type":"internal","internal":{"type":"dance"}}`, ErrUnknownType, "7"},
		{"addsession without a body", `{"id":"7","type":"internal","internal":{"type":"addsession"}}`, ErrFormat, "7"},
		{"addsession without an id", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"roomid":"r"}}}`, ErrFormat, "7"},
		{"addsession without a room", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s"}}}`, ErrFormat, "7"},
		{"addsession, user a list", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","user":[]}}}`, ErrFormat, "7"},
		{"addsession, user too large", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","user":{"a":"` + strings.Repeat("u", maxVirtualUser) + `"}}}}`, ErrFormat, "7"},
		{"addsession, userid too long", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","userid":"` + strings.Repeat("u", maxUserID+1) + `"}}}`, ErrFormat, "7"},
		{"addsession, flags below zero", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","flags":-1}}}`, ErrFormat, "7"},
		{"addsession, actor does not print", `{"id":"7","type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","options":{"actorId":"a\nb","actorType":"phones"}}}}`, ErrFormat, "7"},
		{"dialout without a body", `{"id":"7","type":"internal","internal":{"type":"dialout"}}`, ErrFormat, "7"},
		{"dialout of an unknown type", `{"id":"7","type":"internal","internal":{"type":"dialout","dialout":{"type":"dance"}}}`, ErrFormat, "7"},
		{"dialout, status without its body", `{"id":"7","type":"internal","internal":{"type":"dialout","dialout":{"type":"status"}}}`, ErrFormat, "7"},
		{"dialout, no callid", `{"id":"7","type":"internal","internal":{"type":"dialout","dialout":{"type":"status","status":{"status":"accepted"}}}}`, ErrFormat, "7"},
		{"dialout, callid too long", `{"id":"7","type":"internal","internal":{"type":"dialout","dialout":{"type":"status","status":{"callid":"` + strings.Repeat("c", maxID+1) + `","status":"accepted"}}}}`, ErrFormat, "7"},
		{"dialout, error without its body", `{"id":"7","type":"internal","internal":{"type":"dialout","dialout":{"type":"error"}}}`, ErrFormat, "7"},
		{"updatesession without an id", `{"id":"7","type":"internal","internal":{"type":"updatesession","updatesession":{"roomid":"r"}}}`, ErrFormat, "7"},
		{"removesession, id too long", `{"id":"7","type":"internal","internal":{"type":"removesession","removesession":{"sessionid":"` + strings.Repeat("s", maxSessionID+1) + `","roomid":"r"}}}`, ErrFormat, "7"},
		{"incall of a wrong type", `{"id":"7","type":"internal","internal":{"type":"incall","incall":{"incall":"1"}}}`, ErrFormat, "7"},

		{"room without a body", `{"id":"7","type":"room"}`, ErrFormat, "7"},
		{"roomid too long", `{"id":"7","type":"room","room":{"roomid":"` + strings.Repeat("r", maxRoomID+1) + `"}}`, ErrFormat, "7"},
		{"roomid does not print", `{"id":"7","type":"room","room":{"roomid":"a\nb"}}`, ErrFormat, "7"},
		{"room sessionid too long", `{"id":"7","type":"room","room":{"roomid":"a","sessionid":"` + strings.Repeat("s", maxSessionID+1) + `"}}`, ErrFormat, "7"},
		{"federation without a server", `{"id":"7","type":"room","room":{"roomid":"a","federation":{"url":"https://x.example","token":"t"}}}`, ErrFormat, "7"},
		{"federation without a Nextcloud", `{"id":"7","type":"room","room":{"roomid":"a","federation":{"signaling":"wss://x.example","token":"t"}}}`, ErrFormat, "7"},
		{"federation without a token", `{"id":"7","type":"room","room":{"roomid":"a","federation":{"signaling":"wss://x.example","url":"https://x.example"}}}`, ErrFormat, "7"},
		{"federation without a room", `{"id":"7","type":"room","room":{"roomid":"","federation":{"signaling":"wss://x.example","url":"https://x.example","token":"t"}}}`, ErrFormat, "7"},
		{"federation, a room too long", `{"id":"7","type":"room","room":{"roomid":"a","federation":{"signaling":"s","url":"u","token":"t","roomid":"` + strings.Repeat("r", maxRoomID+1) + `"}}}`, ErrFormat, "7"},
		{"hello of version 1.0, federated", hello + `{"version":"1.0","auth":{"type":"federation","url":"https://c.example","params":{"token":"t"}}}}`, ErrHelloVersion, "7"},
		{"hello, federated, without a token", hello + `{"version":"2.0","auth":{"type":"federation","url":"https://c.example","params":{}}}}`, ErrFormat, "7"},

		{"transient without a body", `{"id":"7","type":"transient"}`, ErrFormat, "7"},
		{"transient of another type", `{"id":"7","type":"transient","transient":{"type":"initial","key":"k"}}`, ErrFormat, "7"},
		{"transient without a key", `{"id":"7","type":"transient","transient":{"type":"set","value":1}}`, ErrFormat, "7"},
		{"transient, key too long", `{"id":"7","type":"transient","transient":{"type":"set","key":"` + strings.Repeat("k", MaxTransientKey+1) + `","value":1}}`, ErrFormat, "7"},
		{"transient, value too long", `{"id":"7","type":"transient","transient":{"type":"set","key":"k","value":"` + strings.Repeat("v", MaxTransientValue) + `"}}`, ErrTransientLimit, "7"},
		{"transient, ttl below zero", `{"id":"7","type":"transient","transient":{"type":"set","key":"k","value":1,"ttl":-1}}`, ErrFormat, "7"},
		{"transient, ttl of a wrong type", `{"id":"7","type":"transient","transient":{"type":"set","key":"k","value":1,"ttl":"1s"}}`, ErrFormat, "7"},

		{"message without a body", `{"id":"7","type":"message"}`, ErrFormat, "7"},
		{"message without data", `{"id":"7","type":"message","message":{"recipient":{"type":"room"}}}`, ErrFormat, "7"},
		{"message, data null", `{"id":"7","type":"message","message":{"recipient":{"type":"room"},"data":null}}`, ErrFormat, "7"},
		{"message without a recipient", `{"id":"7","type":"message","message":{"data":{}}}`, ErrFormat, "7"},
		{"message to nobody known", `{"id":"7","type":"message","message":{"recipient":{"type":"planet"},"data":{}}}`, ErrFormat, "7"},
		{"message to a session without id", `{"id":"7","type":"message","message":{"recipient":{"type":"session"},"data":{}}}`, ErrFormat, "7"},
		{"message to a user without id", `{"id":"7","type":"message","message":{"recipient":{"type":"user"},"data":{}}}`, ErrFormat, "7"},
		{"message, sessionid of a wrong type", `{"id":"7","type":"message","message":{"recipient":{"type":"session","sessionid":{}},"data":{}}}`, ErrFormat, "7"},
		{"control without a body", `{"id":"7","type":"control"}`, ErrFormat, "7"},
		{"control without data", `{"id":"7","type":"control","control":{"recipient":{"type":"room"}}}`, ErrFormat, "7"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode([]byte(c.frame))
			if !errors.Is(err, c.want) {
				t.Fatalf("Decode: %v, want %v", err, c.want)
			}
			if m == nil || m.ID != c.id {
				t.Errorf("Decode kept the id of %+v, want %q", m, c.id)
			}
		})
	}
}

func TestDecodeDoesNotQuoteSecrets(t *testing.T) {
	const secret = "s3cr3t"
	for _, frame := range []string{
		`{"type":"hello","hello":{"version":"1.0","auth":{"type":"ticket","params":{"ticket":"` + secret + "\\u0001" + `"}}}}`,
		`{"type":"hello","hello":{"version":"1.0","resumeid":["` + secret + `"]}}`,
		`{"type":"message","message":"` + secret + `"}`,
		`{"type":"message","message":{"data":"` + secret + `"`,
	} {
		_, err := Decode([]byte(frame))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("Decode(%s): %v", frame, err)
		}
	}
}

func TestDataPassThrough(t *testing.T) {
	const data = `{"type":"reaction","payload":{"n":12345678901234567890.10,"html":"<b>&","z":1,"a":"\ud83d\ude00"}}`
	m, err := Decode([]byte(`{"type":"message","message":{"recipient":{"type":"room"},"data":` + data + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Message.Data) != data {
		t.Errorf("data in: %s", m.Message.Data)
	}
	out := Encode(DeliverMessage(Sender{Type: ToRoom, SessionID: "s"}, m.Message.Data))
	if want := `{"type":"message","message":{"sender":{"type":"room","sessionid":"s"},"data":` + data + `}}`; string(out) != want {
		t.Errorf("data out:\n %s, want\n %s", out, want)
	}
}

func TestDepth(t *testing.T) {
	for text, want := range map[string]int{
		``: 0, `1`: 0, `{}`: 1, `[{"a":[]}]`: 3, `"[[["`: 0, `["\"[",{}]`: 2, `"\\"[`: 1, `]]][`: 0, `{"a":{}}{"b":{"c":{}}}`: 3,
	} {
		if got := Depth([]byte(text)); got != want {
			t.Errorf("Depth(%s) = %d, want %d", text, got, want)
		}
	}
}

func TestAuthKind(t *testing.T) {
	if k := (&Auth{}).Kind(); k != AuthClient {
		t.Errorf("default kind %q", k)
	}
	if k := (&Auth{Type: AuthTicket}).Kind(); k != AuthTicket {
		t.Errorf("kind %q", k)
	}
}
