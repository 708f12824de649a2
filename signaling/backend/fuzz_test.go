package backend

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/talkd/talkd/signaling/wire"
)

// FuzzAnswer: whatever an instance answers, the client who waits for it can be told.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"ocs":{"meta":{"status":"ok"},"data":{"type":"auth","auth":{"version":"1.0","userid":"u","user":{"displayname":"U"}}}}}`,
		`{"ocs":{"data":{"type":"auth","auth":{"user":[]}}}}`,
		`{"ocs":{"data":{"type":"room","room":{"roomid":"r","properties":{"name":"R"},"permissions":["control"],"session":{"displayname":"U"}}}}}`,
		`{"ocs":{"data":{"type":"error","error":{"code":"no_such_room","message":"none","details":{"n":1}}}}}`,
		`{"ocs":{"data":{"type":"error"}}}`,
		`{"ocs":{"data":[]}}`,
	} {
		f.Add(http.StatusOK, []byte(seed))
	}
	f.Add(http.StatusForbidden, []byte(`{"ocs":{"data":{"type":"error","error":{"code":"invalid_request"}}}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a, err := decodeAnswer(status, body, DefaultMaxResponse)
		if err == nil && a.Type == kindError {
			err = a.refusal(wire.ErrAuthFailed)
		}
		if err != nil {
			var told wire.ServerMessage
			if err := json.Unmarshal(wire.Encode(wire.ErrorReply("1", err)), &told); err != nil || told.Error == nil || told.Error.Code == "" {
				t.Fatalf("cannot be told: %v, %+v", err, told)
			}
			return
		}
		if a.Room != nil {
			room := wire.Room{RoomID: a.Room.RoomID, Properties: a.Room.Properties}
			if out := wire.Encode(wire.ServerMessage{Type: wire.TypeRoom, Room: &room}); !json.Valid(out) {
				t.Fatalf("cannot be told: %q", out)
			}
			if s := objectOrNil(a.Room.Session); s != nil && !json.Valid(s) {
				t.Fatalf("session: %q", s)
			}
		}
	})
}

// FuzzToken: whatever an instance says of its key, and a client in its token, nobody gets in
// whose token the instance has not signed.
func FuzzToken(f *testing.F) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	key := base64.StdEncoding.EncodeToString(public)
	now := time.Now()
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://cloud.example/", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "sub": "u", "userdata": map[string]string{"displayname": "U"},
	}).SignedString(private)
	if err != nil {
		f.Fatal(err)
	}
	capabilities := func(key string) []byte {
		return []byte(`{"ocs":{"data":{"capabilities":{"spreed":{"config":{"signaling":{"hello-v2-token-key":"` + key + `"}}}}}}}`)
	}
	f.Add(capabilities(key), token)
	f.Add(capabilities(`-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n`), token)
	f.Add([]byte(`{"ocs":{"data":{"capabilities":[]}}}`), "eyJhbGciOiJub25lIn0.e30.")
	own := &tokenKey{key: public, methods: []string{"EdDSA"}}
	f.Fuzz(func(t *testing.T, body []byte, text string) {
		if wire.CheckJSON(body, DefaultMaxResponse) != nil {
			return
		}
		if k, err := tokenKeyOf(body); err == nil {
			_, _ = k.read(text) // it may have signed anything
		}
		// Nobody but this test has the key: what it takes is its own token, at most with other
		// bits where base64 has some to spare.
		said, err := own.read(text)
		if err == nil && (said.Subject != "u" || said.Issuer != "https://cloud.example/") {
			t.Fatalf("%q is taken for %q", text, said.Subject)
		}
	})
}
