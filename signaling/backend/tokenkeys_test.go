package backend

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/talkd/talkd/signaling/wire"
)

// keyHolder is an instance of which only the key matters.
type keyHolder struct {
	t     *testing.T
	c     *Client
	at    *address
	asked int
	etags []string
	err   error
	key   *ecdsa.PrivateKey
	slow  time.Duration
	mu    sync.Mutex
}

func newKeyHolder(t *testing.T) *keyHolder {
	t.Helper()
	registry, err := NewRegistry([]Instance{{URL: "https://cloud.example", Secret: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	k := &keyHolder{t: t, at: registry.known.Load().ordered[0]}
	k.c = &Client{registry: registry, keys: newTokenKeys(k.fetch)}
	k.renew()
	return k
}

func (k *keyHolder) renew() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	k.key = key
}

func (k *keyHolder) fetch(ctx context.Context, _ *address, etag string) (fetched, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	k.etags = append(k.etags, etag)
	select {
	case <-time.After(k.slow):
	case <-ctx.Done():
		return fetched{}, ctx.Err()
	}
	if k.err != nil {
		return fetched{}, k.err
	}
	key, err := parseTokenKey(publicPEM(k.t, k.key))
	return fetched{key: key, etag: "e", fresh: 2 * time.Minute}, err
}

func publicPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (k *keyHolder) token() string {
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"iss": "https://cloud.example/", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "sub": "alice",
	}).SignedString(k.key)
	if err != nil {
		k.t.Fatal(err)
	}
	return token
}

// try is the code that a client with the token hears; none if it gets in.
func (k *keyHolder) try(ctx context.Context, token string) wire.Code {
	if _, err := k.c.AuthenticateToken(ctx, k.at.of.id, "", token); err != nil {
		return wire.ErrorFor(err).Code
	}
	return ""
}

// TestTokenKeyChanges: a new key holds with the first token that it has signed, and
// tokens that are made up are not as many questions.
func TestTokenKeyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyHolder(t)
		if code := k.try(t.Context(), k.token()); code != "" {
			t.Fatalf("first key: %s", code)
		}
		time.Sleep(keyPause) // of the bubble
		old := k.token()
		k.renew()
		if code := k.try(t.Context(), k.token()); code != "" {
			t.Errorf("new key: %s", code)
		}
		for range 100 {
			if code := k.try(t.Context(), old); code != wire.CodeInvalidToken {
				t.Errorf("of the old key: %q", code)
			}
		}
		if k.asked != 2 {
			t.Errorf("asked %d times", k.asked)
		}
	})
}

// TestTokenKeyCached: the key is asked for again when its time is over, and kept for
// a day when the instance does not answer.
func TestTokenKeyCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyHolder(t)
		expect := func(what string, code wire.Code, asked int) {
			t.Helper()
			if got := k.try(t.Context(), k.token()); got != code || k.asked != asked {
				t.Errorf("%s: %q, asked %d times; want %q, %d", what, got, k.asked, code, asked)
			}
		}
		expect("first", "", 1)
		time.Sleep(119 * time.Second) // of the bubble
		expect("fresh", "", 1)
		time.Sleep(2 * time.Second) // of the bubble
		expect("stale", "", 2)
		if k.etags[0] != "" || k.etags[1] != "e" {
			t.Errorf("asked with %q", k.etags)
		}
		k.err = ErrUnreachable
		time.Sleep(10 * time.Minute) // of the bubble
		expect("no answer", "", 3)
		expect("no answer just now", "", 3)
		time.Sleep(keyKept) // of the bubble
		expect("no answer for a day", wire.CodeAuthFailed, 4)
		k.err = nil
		expect("it answers again, unasked", wire.CodeAuthFailed, 4)
		time.Sleep(keyPause) // of the bubble
		expect("it answers again", "", 5)
	})
}

// TestTokenKeyAskedOnce: for many who come at once the instance is asked once, also if
// the first of them does not wait for the answer.
func TestTokenKeyAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyHolder(t)
		k.slow = time.Second
		token := k.token()
		first, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if code := k.try(first, token); code != wire.CodeAuthFailed {
				t.Errorf("of who has gone: %q", code)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if code := k.try(t.Context(), token); code != "" {
					t.Errorf("refused: %s", code)
				}
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if k.asked != 1 {
			t.Errorf("asked %d times", k.asked)
		}
	})
}

// TestTokenKeyClose: what is being asked ends with the client.
func TestTokenKeyClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeyHolder(t)
		k.slow = time.Hour
		token, began := k.token(), time.Now()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if code := k.try(t.Context(), token); code != wire.CodeAuthFailed {
				t.Errorf("while it ends: %q", code)
			}
		})
		synctest.Wait()
		k.c.keys.close()
		waiting.Wait()
		if code := k.try(t.Context(), token); code != wire.CodeAuthFailed || k.asked != 1 || time.Since(began) > 0 {
			t.Errorf("afterwards: %q, asked %d times", code, k.asked)
		}
	})
}

// TestCapabilities is the question itself.
func TestCapabilities(t *testing.T) {
	k := newKeyHolder(t)
	text, err := json.Marshal(publicPEM(t, k.key))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/sub"+capabilities || r.Header.Get("OCS-APIRequest") != "true" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Cache-Control", "private, max-age=90")
		if r.Header.Get("If-None-Match") == `"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(`{"ocs":{"data":{"capabilities":{"spreed":{"config":{"signaling":{"hello-v2-token-key":` + string(text) + `}}}}}}}`))
	}))
	defer server.Close()
	registry, err := NewRegistry([]Instance{{URL: server.URL + "/sub", Secret: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClient(Config{}, registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.fetchTokenKey(t.Context(), registry.known.Load().ordered[0], "")
	if err != nil || got.key == nil || got.etag != `"1"` || got.fresh != 90*time.Second {
		t.Errorf("first: %+v, %v", got, err)
	}
	got, err = c.fetchTokenKey(t.Context(), registry.known.Load().ordered[0], got.etag)
	if err != nil || got.key != nil || got.etag != `"1"` || got.fresh != 90*time.Second {
		t.Errorf("again: %+v, %v", got, err)
	}
	server.Close()
	if _, err = c.fetchTokenKey(t.Context(), registry.known.Load().ordered[0], ""); !errors.Is(err, ErrUnreachable) {
		t.Errorf("gone: %v", err)
	}
}

func TestFreshness(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                          keyFresh,
		"no-store":                  keyFresh,
		"max-age=120":               2 * time.Minute,
		"private, Max-Age=\"120\"":  2 * time.Minute,
		"max-age=0, s-maxage=900":   keyFreshLeast,
		"max-age=99999":             keyFreshMost,
		"max-age=-1":                keyFresh,
		"max-age=99999999999999999": keyFresh,
	} {
		if got := freshness(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}
