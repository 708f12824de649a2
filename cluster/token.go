package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/talkd/talkd/store"
)

// A join token is "tj1_" and base64url of: SHA-256 of the CA's public key, a
// secret of 16 bytes, and a checksum that tells a mistyped token from a wrong
// one. One bearer may join with it; the pin keeps it from telling the secret to
// anybody else.
const (
	tokenPrefix = "tj1_"
	tokenSecret = 16
	tokenSum    = 4
	tokenSize   = sha256.Size + tokenSecret + tokenSum
)

type joinToken struct {
	pin    [sha256.Size]byte
	secret [tokenSecret]byte
}

func newToken(pin [sha256.Size]byte) joinToken {
	t := joinToken{pin: pin}
	_, _ = rand.Read(t.secret[:]) // never fails (Go 1.24)
	return t
}

// text is the token as its bearer writes it. Never log it.
func (t joinToken) text() string {
	b := append(t.pin[:], t.secret[:]...)
	b = append(b, checksum(b)...)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// String keeps the secret out of logs.
func (t joinToken) String() string { return tokenPrefix + "…" }

func parseToken(s string) (joinToken, error) {
	rest, ok := strings.CutPrefix(s, tokenPrefix)
	if !ok {
		return joinToken{}, fmt.Errorf("%w: it does not begin with %q", ErrBadToken, tokenPrefix)
	}
	if base64.RawURLEncoding.DecodedLen(len(rest)) != tokenSize {
		return joinToken{}, fmt.Errorf("%w: it is too short or too long", ErrBadToken)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(b) != tokenSize || string(checksum(b[:tokenSize-tokenSum])) != string(b[tokenSize-tokenSum:]) {
		return joinToken{}, fmt.Errorf("%w: it is mistyped", ErrBadToken)
	}
	var t joinToken
	copy(t.pin[:], b)
	copy(t.secret[:], b[sha256.Size:])
	return t, nil
}

func checksum(b []byte) []byte {
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	return []byte{byte(c >> 24), byte(c >> 16), byte(c >> 8), byte(c)}
}

// CreateJoinToken lets one node join within ttl; 0 means an hour. The token is
// secret and never logged.
func (c *Cluster) CreateJoinToken(ctx context.Context, ttl time.Duration) (string, error) {
	if ttl == 0 {
		ttl = defaultTokenTTL
	}
	if ttl < 0 || ttl > maxTokenTTL {
		return "", fmt.Errorf("%w: a join token lives up to %s", ErrConfig, maxTokenTTL)
	}
	id := c.identity.p.Load()
	if id == nil {
		return "", ErrNotReady
	}
	token, now := newToken(pinOf(id.trust.Load().ca())), time.Now()
	if _, err := c.Propose(ctx, store.NewCreateJoinToken(now, store.HashToken(token.text()), now.Add(ttl))); err != nil {
		return "", err
	}
	return token.text(), nil
}

// FirstTokens are the join tokens of the nodes that Config.Expect says are
// still to come; none on a node that joined others itself.
func (c *Cluster) FirstTokens(ctx context.Context) ([]string, error) {
	if len(c.config.Join) > 0 {
		return nil, nil
	}
	var tokens []string
	for range c.config.Expect - len(c.state.Nodes()) {
		token, err := c.CreateJoinToken(ctx, 0)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}
