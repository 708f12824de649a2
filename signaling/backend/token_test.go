package backend_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

func must[T any](t *testing.T, make func() (T, error)) T {
	t.Helper()
	v, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTokenKeys signs with each kind of key that instances have.
func TestTokenKeys(t *testing.T) {
	rsaKey := must(t, func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	p256 := must(t, func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	p384 := must(t, func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) })
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}))
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		key    crypto.Signer
		public string
	}{
		"RS256":                {jwt.SigningMethodRS256, rsaKey, signalingtest.PublicPEM(t, rsaKey.Public())},
		"RS384, PKCS 1":        {jwt.SigningMethodRS384, rsaKey, pkcs1},
		"RS512":                {jwt.SigningMethodRS512, rsaKey, pkcs1},
		"ES256":                {jwt.SigningMethodES256, p256, signalingtest.PublicPEM(t, p256.Public())},
		"ES384":                {jwt.SigningMethodES384, p384, signalingtest.PublicPEM(t, p384.Public())},
		"EdDSA":                {jwt.SigningMethodEdDSA, ed, signalingtest.PublicPEM(t, edPublic)},
		"EdDSA, without a PEM": {jwt.SigningMethodEdDSA, ed, base64.StdEncoding.EncodeToString(edPublic)},
	} {
		t.Run(name, func(t *testing.T) {
			nc := signalingtest.NewNextcloud(t, "secret")
			nc.SetTokenKey(c.method, c.key, c.public)
			client, id := newClient(t, backend.Config{}, nc.Instance())
			who, err := client.AuthenticateToken(t.Context(), id, "", nc.Token("alice", "Alice"))
			if err != nil || who.UserID != "alice" || string(who.User) != `{"displayname":"Alice"}` {
				t.Errorf("user: %+v, %v", who, err)
			}
			who, err = client.AuthenticateToken(t.Context(), id, "", nc.Token("", ""))
			if err != nil || who.UserID != "" || who.User != nil {
				t.Errorf("guest: %+v, %v", who, err)
			}
			if n := len(nc.Questions()); n != 1 {
				t.Errorf("asked %d times for one key", n)
			}
		})
	}
}

// TestTokenRefused has what is no token of the instance, and what the client hears.
func TestTokenRefused(t *testing.T) {
	nc, other := signalingtest.NewNextcloud(t, "secret"), signalingtest.NewNextcloud(t, "secret")
	client, id := newClient(t, backend.Config{}, nc.Instance())
	now := time.Now()
	changed := func(name string, value any) string {
		claims := nc.Claims("alice", "Alice", now)
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
		return nc.TokenOf(claims)
	}
	good := nc.Token("alice", "Alice")
	header, rest, _ := strings.Cut(good, ".")
	for name, c := range map[string]struct {
		token string
		code  wire.Code
	}{
		"expired":                    {nc.TokenOf(nc.Claims("alice", "Alice", now.Add(-2*time.Minute))), wire.CodeTokenExpired},
		"from the future":            {nc.TokenOf(nc.Claims("alice", "Alice", now.Add(time.Minute))), wire.CodeTokenNotYet},
		"not before":                 {changed("nbf", now.Add(time.Minute).Unix()), wire.CodeTokenNotYet},
		"without exp":                {changed("exp", nil), wire.CodeInvalidToken},
		"without iat":                {changed("iat", nil), wire.CodeInvalidToken},
		"without iss":                {changed("iss", nil), wire.CodeInvalidToken},
		"iss of nobody":              {changed("iss", "https://elsewhere.example/"), wire.CodeInvalidToken},
		"iss of a wrong type":        {changed("iss", 1), wire.CodeInvalidToken},
		"sub too long":               {changed("sub", strings.Repeat("a", 600)), wire.CodeInvalidToken},
		"userdata too deep":          {changed("userdata", nested(40)), wire.CodeInvalidToken},
		"signed by another":          {other.TokenOf(nc.Claims("alice", "Alice", now)), wire.CodeInvalidToken},
		"expired, signed by another": {other.TokenOf(nc.Claims("alice", "Alice", now.Add(-time.Hour))), wire.CodeInvalidToken},
		"not signed":                 {unsigned(t, nc.Claims("alice", "Alice", now)), wire.CodeInvalidToken},
		"signed with the public key": {keyed(t, nc, now), wire.CodeInvalidToken},
		"signature cut off":          {good[:strings.LastIndex(good, ".")+1], wire.CodeInvalidToken},
		"header of another":          {header + "x." + rest, wire.CodeInvalidToken},
		"nothing but dots":           {strings.Repeat(".", 4000), wire.CodeInvalidToken},
		"no token":                   {"token", wire.CodeInvalidToken},
		"empty":                      {"", wire.CodeInvalidToken},
	} {
		_, err := client.AuthenticateToken(t.Context(), id, "", c.token)
		if got := wire.ErrorFor(err).Code; got != c.code {
			t.Errorf("%s: %s, want %s: %v", name, got, c.code, err)
		}
	}
	if _, err := client.AuthenticateToken(t.Context(), id, "", nc.TokenOf(nc.Claims("alice", "", now.Add(-80*time.Second)))); err != nil {
		t.Errorf("20 s too old, which the clocks may differ by: %v", err)
	}
	if _, err := client.AuthenticateToken(t.Context(), "nobody", "", good); wire.ErrorFor(err).Code != wire.CodeInvalidBackend {
		t.Errorf("unknown backend: %v", err)
	}
}

func nested(depth int) any {
	var v any = map[string]any{}
	for range depth {
		v = map[string]any{"a": v}
	}
	return v
}

func unsigned(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	return must(t, func() (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
	})
}

// keyed takes the public key, which everybody knows, for a secret of an HMAC.
func keyed(t *testing.T, nc *signalingtest.Nextcloud, now time.Time) string {
	t.Helper()
	text := must(t, func() (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, nc.Claims("alice", "", now)).SigningString()
	})
	mac := hmac.New(sha256.New, []byte(nc.TokenKey()))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestTokenKeyOdd has what instances may say in place of a key.
func TestTokenKeyOdd(t *testing.T) {
	short := must(t, func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 1024) })
	p224 := must(t, func() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P224(), rand.Reader) })
	for name, public := range map[string]string{
		"none":        "",
		"nonsense":    "nonsense",
		"empty PEM":   "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
		"short":       signalingtest.PublicPEM(t, short.Public()),
		"long":        signalingtest.PublicPEM(t, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1<<18, 1), E: 65537}),
		"other curve": signalingtest.PublicPEM(t, p224.Public()),
	} {
		nc := signalingtest.NewNextcloud(t, "secret")
		token := nc.Token("alice", "")
		nc.SetTokenKey(jwt.SigningMethodRS256, short, public)
		client, id := newClient(t, backend.Config{}, nc.Instance())
		if _, err := client.AuthenticateToken(t.Context(), id, "", token); wire.ErrorFor(err).Code != wire.CodeAuthFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"a list":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ocs":{"data":[]}}`)) },
		"not JSON":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"endless":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<20)) },
		"304 unasked": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
	} {
		nc := signalingtest.NewNextcloud(t, "secret")
		client, id := newClient(t, backend.Config{}, nc.Instance())
		nc.Break(answer)
		if _, err := client.AuthenticateToken(t.Context(), id, "", nc.Token("alice", "")); wire.ErrorFor(err).Code != wire.CodeAuthFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
}
