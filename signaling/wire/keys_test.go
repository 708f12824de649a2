package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestKeysHaveOneReading: what somebody could read otherwise than this node is refused,
// at all levels where keys decide what is done.
func TestKeysHaveOneReading(t *testing.T) {
	data := func(data string) string {
		return `{"id":"q","type":"message","message":{"recipient":{"type":"room"},"data":` + data + `}}`
	}
	for _, c := range []struct {
		frame string
		ok    bool
	}{
		{data(`{"type":"offer"}`), true},
		{data(`{"type":"chat","Type":"offer"}`), false},
		{data(`{"type":"offer","type":"chat"}`), false},
		{data(`{"type":"offer","\u0074ype":"chat"}`), false},
		{data(`{"type":"chat","\u0054YPE":"offer"}`), false},
		{data(`{"ſame":1,"same":2}`), false}, // the long s is an s to Go's decoder
		{data(`{"type":"x","payload":{"action":"a","Action":"forceMute"}}`), false},
		{data(`{"type":"x","payload":{"deep":{"a":1,"A":2}}}`), true},
		{data(`{"type":"x","list":[{"a":1},{"a":2}],"text":"type","b":"{\"b\":1,\"b\":2}"}`), true},
		{data(`["type","type"]`), true},
		{data(`"a \" {"`), true},
		{`{"id":"q","type":"message","Type":"bye","message":{"recipient":{"type":"room"},"data":1}}`, false},
		{`{"id":"q","type":"message","message":{"recipient":{"type":"room","TYPE":"user","userid":"u"},"data":1}}`, false},
		{`{"id":"q","type":"message","message":{"recipient":{"type":"room"},"data":1},"message":{"recipient":{"type":"call"},"data":1}}`, false},
		{`{"id":"q","type":"transient","transient":{"type":"set","key":"mine","Key":"sd:theirs","value":1}}`, false},
	} {
		m, err := Decode([]byte(c.frame))
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", c.frame, err)
		}
		if m.ID != "q" {
			t.Errorf("%s: the answer has the id %q", c.frame, m.ID)
		}
	}
	many := func(last string) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, `"key%d":%d,`, i, i)
		}
		return data("{" + b.String() + `"` + last + `":0}`)
	}
	if _, err := Decode([]byte(many("another"))); err != nil {
		t.Errorf("many keys: %v", err)
	}
	for _, last := range []string{"KEY0", "key999"} {
		if _, err := Decode([]byte(many(last))); !errors.Is(err, ErrFormat) {
			t.Errorf("many keys, and %s again: %v", last, err)
		}
	}
}

// TestTellsName: however it is written.
func TestTellsName(t *testing.T) {
	for data, want := range map[string]bool{
		`{"type":"nickChanged","payload":{"name":"n"}}`: true,
		`{"type":"nick\u0043hanged"}`:                   true,
		`{"t\u0079pe":"nickChanged"}`:                   true,
		`{"type":"chat","text":"nickChanged"}`:          false,
		`"nickChanged"`:                                 false,
	} {
		if got := TellsName(json.RawMessage(data)); got != want {
			t.Errorf("%s: %t", data, got)
		}
	}
}

// exactly is how a decoder reads an object that heeds case, and takes the last or the
// first of two keys.
func exactly(t *testing.T, object json.RawMessage, key string, first bool) string {
	d := json.NewDecoder(strings.NewReader(string(object)))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return ""
	}
	found := ""
	for d.More() {
		k, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if k == key {
			var text string
			if json.Unmarshal(v, &text) != nil {
				text = ""
			}
			if found = text; first {
				return found
			}
		}
	}
	return found
}

// FuzzReadings: of a frame that is taken every decoder has the same type, and so of the
// data in it, if the key is written as it should be.
func FuzzReadings(f *testing.F) {
	for _, seed := range []string{
		`{"type":"message","message":{"recipient":{"type":"room"},"data":{"type":"chat","Type":"offer"}}}`,
		`{"type":"message","Type":"control","message":{"recipient":{"type":"room"},"data":{"t\u0079pe":"offer","type":"x"}}}`,
		`{"type":"message","message":{"recipient":{"type":"session","sessionid":"s"},"data":{"ſid":1,"sid":2,"type":"offer"}}}`,
		`{"type":"message","message":{"recipient":{"type":"room"},"data":{"type":"control","payload":{"action":"forceMute"}}}}`,
		`{"type":"message","message":{"recipient":{"type":"room"},"data":"\\\"{"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := Decode(frame)
		if err != nil {
			return
		}
		for _, first := range []bool{true, false} {
			if got := exactly(t, frame, "type", first); got != "" && got != m.Type {
				t.Fatalf("%q is %q to somebody else: %s", m.Type, got, frame)
			}
			if m.Message == nil {
				continue
			}
			if got := exactly(t, m.Message.Data, "type", first); got != "" && got != DataType(m.Message.Data) {
				t.Fatalf("data of %q are %q to somebody else: %s", DataType(m.Message.Data), got, frame)
			}
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	frame := []byte(`{"id":"1","type":"message","message":{"recipient":{"type":"room"},"data":{"type":"raiseHand","to":"x","payload":{"state":true,"timestamp":1700000000}}}}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := checkKeys(frame); err != nil {
			b.Fatal(err)
		}
	}
}
