// Package turn is what clients are told of STUN and TURN servers: where they are, and with
// which credentials they relay.
//
//	turn.servers, turn.stun, turn.secret ── Servers ── Credentials ─┬─> GET /turn/credentials    package signaling
//	                                            └───── STUN ────────┼─> settings of signaling    package api
//	                                                                └─> talkd doctor             package doctor
//
// The TURN server knows the secret too, and nothing else: it computes the password of a
// name from it, and sees by the name until when it is good. Nobody has to be entered
// there. This is the way of RFC 7635 without its tokens, as coturn, eturnal and others
// have it ("TURN REST API", draft-uberti-behave-turn-rest-00).
//
// The package imports nothing of ours and opens no sockets; package turn/client does.
package turn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // that is what TURN servers compute
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Servers are those that clients are told of. The zero value has none.
type Servers struct {
	STUN     []URI
	TURN     []URI
	Secret   string // shared with all TURN servers
	Lifetime time.Duration
}

// Relay tells whether there is a TURN server.
func (s Servers) Relay() bool { return len(s.TURN) > 0 }

// Credentials open all TURN servers, until they expire.
type Credentials struct {
	Username string
	Password string
	TTL      time.Duration // from now on
	URIs     []URI
}

// MaxUser bounds the name in a username: with the expiry it is less than the 508 bytes
// of RFC 8489 section 14.3.
const MaxUser = 256

// ErrUser is a name that no credentials are made for.
var ErrUser = fmt.Errorf("a user of TURN is at most %d bytes of text without control characters", MaxUser)

// Credentials are made for user, who is told to the TURN server: an empty one gets a name
// that says nothing. They are good for Lifetime from now on.
func (s Servers) Credentials(user string, now time.Time) (Credentials, error) {
	return s.credentials(user, now, s.Lifetime)
}

// longer is how far ahead a clock may be for Longer to be good there.
const longer = 31 * 24 * time.Hour

// Longer are credentials that a server still takes whose clock is too far ahead for
// those of Credentials. Only who looks for what is wrong needs them.
func (s Servers) Longer(user string, now time.Time) (Credentials, error) {
	return s.credentials(user, now, s.Lifetime+longer)
}

func (s Servers) credentials(user string, now time.Time, ttl time.Duration) (Credentials, error) {
	if user == "" {
		user = rand.Text()
	}
	if len(user) > MaxUser || !utf8.ValidString(user) || strings.ContainsFunc(user, unicode.IsControl) {
		return Credentials{}, ErrUser
	}
	name := strconv.FormatInt(now.Add(ttl).Unix(), 10) + ":" + user
	mac := hmac.New(sha1.New, []byte(s.Secret))
	mac.Write([]byte(name))
	return Credentials{
		Username: name,
		Password: base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		TTL:      ttl,
		URIs:     s.TURN,
	}, nil
}

// MaxServers bounds a list: browsers ask each of them, of each of their addresses.
const MaxServers = 16

// Bounds of Lifetime.
const (
	MinLifetime = 5 * time.Minute
	MaxLifetime = 7 * 24 * time.Hour
)

// ParseSTUN reads URIs of STUN servers.
func ParseSTUN(list []string) ([]URI, error) { return parse(list, false) }

// ParseTURN reads URIs of TURN servers.
func ParseTURN(list []string) ([]URI, error) { return parse(list, true) }

func parse(list []string, relays bool) ([]URI, error) {
	if len(list) > MaxServers {
		return nil, fmt.Errorf("%d of them; at most %d, as clients ask each one", len(list), MaxServers)
	}
	uris := make([]URI, 0, len(list))
	for _, text := range list {
		u, err := ParseURI(strings.TrimSpace(text))
		switch {
		case err != nil:
			return nil, err
		case u.Relays() != relays && relays:
			return nil, fmt.Errorf("%q is a STUN server, which relays nothing", text)
		case u.Relays() != relays:
			return nil, fmt.Errorf("%q is a TURN server, which is told with credentials", text)
		}
		uris = append(uris, u)
	}
	return uris, nil
}

// Validate says what is wrong, and what would be right.
func (s Servers) Validate() error {
	switch {
	case s.Relay() && s.Secret == "":
		return errors.New("secret: missing; it is the one of the TURN server (coturn: static-auth-secret)")
	case s.Lifetime < MinLifetime || s.Lifetime > MaxLifetime:
		return fmt.Errorf("lifetime: %v is not between %v and %v", s.Lifetime, MinLifetime, MaxLifetime)
	}
	return nil
}

// Texts are URIs as clients are told them.
func Texts(uris []URI) []string {
	texts := make([]string, len(uris))
	for i, u := range uris {
		texts[i] = u.String()
	}
	return texts
}
