package wire

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeMedia(t *testing.T) {
	index, layer, on := uint16(1), 2, false
	cases := []struct {
		name, data string
		want       *MediaMessage
	}{
		{"offer", `{"to":"s","sid":"17","roomType":"video","type":"offer","payload":{"type":"offer","sdp":"v=0","nick":"N"}}`,
			&MediaMessage{Type: MediaOffer, To: "s", SID: "17", RoomType: "video", Payload: &MediaPayload{Type: "offer", SDP: "v=0", Nick: "N"}}},
		{"screen", `{"to":"s","sid":"17","roomType":"screen","broadcaster":"s","type":"offer","payload":{"sdp":"v=0"}}`,
			&MediaMessage{Type: MediaOffer, To: "s", SID: "17", RoomType: "screen", Broadcaster: "s", Payload: &MediaPayload{SDP: "v=0"}}},
		{"offer with wishes", `{"sid":"17","roomType":"video","type":"offer","payload":{"sdp":"v=0"},"bitrate":300000,"audiocodec":"opus,g722","videocodec":"vp9,vp8","vp9profile":"2","h264profile":"42e01f"}`,
			&MediaMessage{Type: MediaOffer, SID: "17", RoomType: "video", Payload: &MediaPayload{SDP: "v=0"}, Bitrate: 300_000,
				AudioCodec: "opus,g722", VideoCodec: "vp9,vp8", VP9Profile: "2", H264Profile: "42e01f"}},
		{"answer", `{"type":"answer","roomType":"video","payload":{"sdp":"v=0"}}`, &MediaMessage{Type: MediaAnswer, RoomType: "video", Payload: &MediaPayload{SDP: "v=0"}}},
		{"candidate", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"candidate:1 1 udp 1 192.0.2.1 1 typ host","sdpMid":"","sdpMLineIndex":1,"usernameFragment":"u"}}}`,
			&MediaMessage{Type: MediaCandidate, RoomType: "video", Payload: &MediaPayload{Candidate: &Candidate{Candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host", SDPMLineIndex: &index}}}},
		{"candidate, mid null", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"","sdpMid":null,"sdpMLineIndex":null}}}`,
			&MediaMessage{Type: MediaCandidate, RoomType: "video", Payload: &MediaPayload{Candidate: &Candidate{}}}},
		{"end of candidates", `{"type":"endOfCandidates","roomType":"video"}`, &MediaMessage{Type: MediaEndOfCandidates, RoomType: "video"}},
		{"requestoffer", `{"type":"requestoffer","roomType":"video"}`, &MediaMessage{Type: MediaRequestOffer, RoomType: "video"}},
		{"requestoffer again", `{"type":"requestoffer","roomType":"video","sid":"x","payload":null}`, &MediaMessage{Type: MediaRequestOffer, RoomType: "video", SID: "x"}},
		{"sendoffer", `{"type":"sendoffer","roomType":"screen"}`, &MediaMessage{Type: MediaSendOffer, RoomType: "screen"}},
		{"selectStream", `{"type":"selectStream","roomType":"video","payload":{"substream":2,"temporal":2}}`,
			&MediaMessage{Type: MediaSelectStream, RoomType: "video", Payload: &MediaPayload{Substream: &layer, Temporal: &layer}}},
		{"selectStream, no video", `{"type":"selectStream","roomType":"video","payload":{"video":false}}`,
			&MediaMessage{Type: MediaSelectStream, RoomType: "video", Payload: &MediaPayload{Video: &on}}},
		{"unshareScreen", `{"type":"unshareScreen","roomType":"screen","sid":"1"}`, &MediaMessage{Type: MediaUnshareScreen, RoomType: "screen", SID: "1"}},

		{"mute", `{"type":"mute","payload":{"name":"audio"}}`, nil},
		{"encryption", `{"type":"message","payload":{"type":"encryption.setkey"}}`, nil},
		{"other types of the same names", `{"type":"reaction","sid":1,"to":[],"roomType":{},"payload":"x"}`, nil},
		{"no type", `{"payload":{}}`, nil},
		{"type of a wrong type", `{"type":["offer"]}`, nil},
		{"text", `"offer"`, nil},
		{"list", `["offer"]`, nil},
		{"nothing", ``, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeMedia(json.RawMessage(c.data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestDecodeMediaRefuses(t *testing.T) {
	cases := []struct {
		name, data string
		want       error
	}{
		{"no roomType", `{"type":"offer","payload":{"sdp":"v=0"}}`, ErrFormat},
		{"unknown roomType", `{"type":"offer","roomType":"hologram","payload":{"sdp":"v=0"}}`, ErrFormat},
		{"sid too long", `{"type":"offer","roomType":"video","sid":"` + strings.Repeat("1", maxSID+1) + `","payload":{"sdp":"v=0"}}`, ErrFormat},
		{"sid does not print", `{"type":"offer","roomType":"video","sid":"\n","payload":{"sdp":"v=0"}}`, ErrFormat},
		{"payload of a wrong type", `{"type":"offer","roomType":"video","payload":"v=0"}`, ErrFormat},
		{"offer without payload", `{"type":"offer","roomType":"video"}`, ErrNoSDP},
		{"offer without sdp", `{"type":"offer","roomType":"video","payload":{}}`, ErrNoSDP},
		{"too many codecs", `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"videocodec":"` + strings.Repeat("vp8,", 64) + `"}`, ErrFormat},
		{"profile does not print", `{"type":"offer","roomType":"video","payload":{"sdp":"v=0"},"vp9profile":"\u0000"}`, ErrFormat},
		{"answer without sdp", `{"type":"answer","roomType":"video","payload":{"sdp":""}}`, ErrNoSDP},
		{"candidate without payload", `{"type":"candidate","roomType":"video"}`, ErrNoCandidate},
		{"no candidate", `{"type":"candidate","roomType":"video","payload":{"candidate":null}}`, ErrNoCandidate},
		{"candidate too long", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"` + strings.Repeat("c", maxCandidate+1) + `"}}}`, ErrInvalidCandidate},
		{"candidate with a line break", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"a\r\na=x"}}}`, ErrInvalidCandidate},
		{"mid too long", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"c","sdpMid":"` + strings.Repeat("m", maxMid+1) + `"}}}`, ErrInvalidCandidate},
		{"line index below 0", `{"type":"candidate","roomType":"video","payload":{"candidate":{"candidate":"c","sdpMLineIndex":-1}}}`, ErrFormat},
		{"selectStream without payload", `{"type":"selectStream","roomType":"video"}`, ErrFormat},
		{"substream below 0", `{"type":"selectStream","roomType":"video","payload":{"substream":-1}}`, ErrFormat},
		{"temporal layer beyond all", `{"type":"selectStream","roomType":"video","payload":{"temporal":99}}`, ErrFormat},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if _, err := DecodeMedia(json.RawMessage(c.data)); !errors.Is(err, c.want) {
				t.Errorf("DecodeMedia: %v, want %v", err, c.want)
			}
		})
	}
}

func TestEncodeMedia(t *testing.T) {
	index := uint16(0)
	m := &MediaMessage{Type: MediaCandidate, From: "p", To: "s", SID: "1", RoomType: RoomTypeVideo,
		Payload: &MediaPayload{Candidate: &Candidate{Candidate: "candidate:1", SDPMid: "0", SDPMLineIndex: &index}}}
	const want = `{"type":"candidate","from":"p","to":"s","sid":"1","roomType":"video","payload":{"candidate":{"candidate":"candidate:1","sdpMid":"0","sdpMLineIndex":0}}}`
	if got := string(m.Encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
