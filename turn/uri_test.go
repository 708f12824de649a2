package turn

import (
	"errors"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	for text, want := range map[string]string{
		// The examples of RFC 7064 appendix A and RFC 7065 appendix A.
		"stun:example.org":                    "stun:example.org:3478",
		"stuns:example.org":                   "stuns:example.org:5349",
		"stun:example.org:8000":               "stun:example.org:8000",
		"turn:example.org":                    "turn:example.org:3478?transport=udp",
		"turns:example.org":                   "turns:example.org:5349?transport=tcp",
		"turn:example.org:8000":               "turn:example.org:8000?transport=udp",
		"turn:example.org?transport=udp":      "turn:example.org:3478?transport=udp",
		"turn:example.org?transport=tcp":      "turn:example.org:3478?transport=tcp",
		"turns:example.org?transport=tcp":     "turns:example.org:5349?transport=tcp",
		"turns:example.org:443?transport=udp": "turns:example.org:443?transport=udp", // DTLS, RFC 7350
		// Addresses, and what people write.
		"turn:192.0.2.1:3478?transport=udp": "turn:192.0.2.1:3478?transport=udp",
		"turn:[2001:DB8::1]":                "turn:[2001:db8::1]:3478?transport=udp",
		"stun:[2001:db8::1]:19302":          "stun:[2001:db8::1]:19302",
		"TURN:Turn.Example.ORG.":            "turn:turn.example.org:3478?transport=udp",
		"turn:host_1:1?transport=TCP":       "turn:host_1:1?transport=tcp",
	} {
		u, err := ParseURI(text)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, u, err, want)
		}
	}
	for _, text := range []string{
		"", "turn", "turn:", ":", "http://example.org", "turn://example.org", "turn:example.org:", "turn:example.org:0", "turn:example.org:65536",
		"turn:example.org:+1", "turn:example.org:x", "turn::3478", "turn:user@example.org", "turn:example.org/path", "turn:exa mple.org", "turn:2001:db8::1",
		"turn:[2001:db8::1", "turn:[]", "turn:[192.0.2.1]", "turn:[fe80::1%eth0]", "turn:[2001:db8::1]3478", "turn:192.0.2.256", "turn:1.2.3", "turn:-a.org", "turn:a-.org",
		"turn:a..org", "turn:ä.org", "turn:example.org?", "turn:example.org?transport=", "turn:example.org?transport=sctp", "turn:example.org?x=udp",
		"turn:example.org?transport=udp&x=y", "stun:example.org?transport=udp", "turn:" + strings.Repeat("a", 64) + ".org", "turn:" + strings.Repeat("a.", 140) + "org",
		"turn:example.org\n", strings.Repeat("turn:", 100),
	} {
		if u, err := ParseURI(text); !errors.Is(err, ErrURI) {
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
	if _, err := ParseURI("turn://user:pass@example.org"); !errors.Is(err, ErrURI) || strings.Contains(err.Error(), "pass") {
		t.Errorf("with a password: %v", err)
	}
}

// Whatever comes in: no panic, what is taken is the same when it is read again, and one
// line in every error.
func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"stun:example.org", "turns:[2001:db8::1]:443?transport=tcp", "turn:192.0.2.1:1?transport=udp", "turn:[::ffff:192.0.2.1]", "turn:a:?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURI(text)
		if err != nil {
			if !errors.Is(err, ErrURI) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q: %q", text, err)
			}
			return
		}
		again, err := ParseURI(u.String())
		if err != nil || again != u {
			t.Errorf("%q: %+v, again %+v, %v", text, u, again, err)
		}
		if u.Port == 0 || u.Host == "" || strings.ContainsAny(u.String(), " \t\r\n,\"<>") {
			t.Errorf("%q: %q", text, u)
		}
	})
}
