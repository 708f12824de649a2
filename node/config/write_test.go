package config

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// What is written is read again as it was, whatever is in it.
func TestWriteIsReadAgain(t *testing.T) {
	c := Default()
	c.HTTP.TrustedProxies = []string{"10.0.0.0/8", "::1/128"}
	c.Signaling.Embedded = false
	c.Signaling.HelloTimeout = 90 * time.Second
	c.Signaling.InternalSecret = "yes: \"quoted\" # 'and' \\ long enough"
	c.Signaling.Backends = []Backend{{URL: "https://a.example/nc", Secret: "- 0123", MaxSessions: 7}, {URL: "https://b.example", SecretFile: "~"}}
	var b strings.Builder
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	again := Default()
	if err := Decode(strings.NewReader(b.String()), &again); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if !reflect.DeepEqual(again, c) {
		t.Errorf("read again: %+v\nwritten: %+v\n%s", again, c, b.String())
	}
	if strings.Contains(b.String(), "max_screen_bitrate") || strings.Contains(b.String(), "admin:") {
		t.Errorf("defaults are written too:\n%s", b.String())
	}
	var none strings.Builder
	if err := Default().Write(&none); err != nil || none.Len() > 0 {
		t.Errorf("%v: %s", err, none.String())
	}
}
