package turn

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// The password is that of other implementations: openssl dgst -sha1 -hmac 'north' -binary
// of the username, in base64.
func TestCredentials(t *testing.T) {
	uris, err := ParseTURN([]string{"turn:turn.example.org?transport=udp", " turns:turn.example.org:443"})
	if err != nil {
		t.Fatal(err)
	}
	s := Servers{TURN: uris, Secret: "north", Lifetime: time.Hour}
	now := time.Unix(1_600_000_000, 999)
	c, err := s.Credentials("alice", now)
	if err != nil || c.Username != "1600003600:alice" || c.Password != "sYkA/EzXmqbJaUTgIDzArenFQu0=" || c.TTL != time.Hour {
		t.Errorf("%+v, %v", c, err)
	}
	if got := strings.Join(Texts(c.URIs), " "); got != "turn:turn.example.org:3478?transport=udp turns:turn.example.org:443?transport=tcp" {
		t.Error(got)
	}
	if l, err := s.Longer("alice", now); err != nil || l.Username != "1602682000:alice" || l.Password == c.Password {
		t.Errorf("longer: %+v, %v", l, err)
	}
	a, _ := s.Credentials("", now)
	b, err := s.Credentials("", now)
	if err != nil || a.Username == b.Username || len(a.Username) < len("1600003600:")+16 {
		t.Errorf("nameless: %q, %q, %v", a.Username, b.Username, err)
	}
	for _, bad := range []string{strings.Repeat("x", MaxUser+1), "a\nb", "\xff"} {
		if _, err := s.Credentials(bad, now); !errors.Is(err, ErrUser) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestValidate(t *testing.T) {
	turns, err := ParseTURN([]string{"turn:a"})
	if err != nil {
		t.Fatal(err)
	}
	for want, s := range map[string]Servers{
		"":                 {TURN: turns, Secret: "x", Lifetime: time.Hour},
		"secret: missing":  {TURN: turns, Lifetime: time.Hour},
		"lifetime: 1s is":  {Lifetime: time.Second},
		"not between 5m0s": {Lifetime: MaxLifetime + 1},
	} {
		if err := s.Validate(); err != nil && (want == "" || !strings.Contains(err.Error(), want)) || err == nil && want != "" {
			t.Errorf("%q: %v", want, err)
		}
	}
	for want, err := range map[string]error{
		"relays nothing":   second(ParseTURN([]string{"stun:a"})),
		"with credentials": second(ParseSTUN([]string{"turn:a"})),
		"at most 16":       second(ParseTURN(make([]string, 17))),
		"no port":          second(ParseSTUN([]string{"stun:a:0"})),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func second(_ []URI, err error) error { return err }
