package wire

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzDecode: what Decode takes is valid again after it was written, and can be
// handed on to others as a frame.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"id":"1","type":"hello","hello":{"version":"1.0","features":["redirect"],"auth":{"url":"https://cloud.example/ocs","params":{"userid":"u","ticket":"t"}}}}`,
		`{"type":"hello","hello":{"version":"1.0","auth":{"type":"ticket","params":{"ticket":"t"}}}}`,
		`{"type":"hello","hello":{"version":"1.0","resumeid":"r"}}`,
		`{"type":"room","room":{"roomid":"r","sessionid":"s"}}`,
		`{"type":"message","message":{"recipient":{"type":"session","sessionid":"s"},"data":{"type":"offer","sid":"1","roomType":"video","payload":{"type":"offer","sdp":"v=0\r\n"}}}}`,
		`{"type":"message","message":{"recipient":{"type":"call"},"data":{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.1 1 typ host","sdpMid":"0","sdpMLineIndex":0}}}}}`,
		`{"type":"control","control":{"recipient":{"type":"user","userid":"u"},"data":{"action":"forceMute"}}}`,
		`{"type":"internal","internal":{"type":"addsession","addsession":{"sessionid":"s","roomid":"r","user":{"displayname":"U"},"flags":1,"incall":9,"options":{"actorId":"a","actorType":"phones"}}}}`,
		`{"id":"1","type":"internal","internal":{"type":"dialout","dialout":{"type":"status","roomid":"r","status":{"callid":"c","status":"accepted"}}}}`,
		`{"type":"internal","internal":{"type":"incall","incall":{"incall":1}}}`,
		`{"type":"transient","transient":{"type":"set","key":"k","value":{"n":1},"ttl":1000000000}}`,
		`{"type":"hello","hello":{"version":"2.0","auth":{"url":"https://cloud.example","params":{"token":"a.b.c"}}}}`,
		`{"type":"hello","hello":{"version":"1.0","auth":{"type":"internal","params":{"random":"r","token":"t","backend":"https://cloud.example"}}}}`,
		`{"type":"move","move":{"state":"done"}}`,
		`{"type":"bye"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := Decode(frame)
		if m == nil {
			t.Fatal("no message")
		}
		answer := Encode(ErrorReply(m.ID, err))
		if !json.Valid(answer) || !utf8.Valid(answer) {
			t.Fatalf("answer %q", answer)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		// Characters of HTML are longer when the client's side writes them.
		if len(again) <= MaxFrame {
			if _, err := Decode(again); err != nil {
				t.Fatalf("written again: %v: %s", err, again)
			}
		}
		if m.Message == nil {
			return
		}
		out := Encode(DeliverMessage(Sender{Type: ToRoom}, m.Message.Data))
		if !json.Valid(out) || !utf8.Valid(out) || errorCodeOf(out) != "" {
			t.Fatalf("handed on: %q", out)
		}
		media, err := DecodeMedia(m.Message.Data)
		if err == nil && media != nil {
			if _, err := DecodeMedia(media.Encode()); err != nil {
				t.Fatalf("media written again: %v", err)
			}
		}
	})
}

func errorCodeOf(frame []byte) Code {
	var m ServerMessage
	if json.Unmarshal(frame, &m) != nil || m.Error == nil {
		return ""
	}
	return m.Error.Code
}
