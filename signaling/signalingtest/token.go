package signalingtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Capabilities is where an instance says what it can.
const Capabilities = "/ocs/v2.php/cloud/capabilities"

// tokenLife is how long tokens of hello 2.0 are good.
const tokenLife = time.Minute

// signing is how the instance signs tokens.
type signing struct {
	method jwt.SigningMethod
	key    crypto.Signer
	public string
}

// NewTokenKey gives the instance another key for its tokens.
func (n *Nextcloud) NewTokenKey() {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	n.SetTokenKey(jwt.SigningMethodES256, key, PublicPEM(n.t, key.Public()))
}

// SetTokenKey lets the instance sign with a key, and show the public one as given.
func (n *Nextcloud) SetTokenKey(method jwt.SigningMethod, key crypto.Signer, public string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signing = signing{method, key, public}
}

// TokenKey is the public key as the instance shows it.
func (n *Nextcloud) TokenKey() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.signing.public
}

// PublicPEM writes a public key the way instances do.
func PublicPEM(t interface{ Fatal(...any) }, key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Token is what a user puts into a hello 2.0; guests have no id.
func (n *Nextcloud) Token(userID, displayName string) string {
	n.t.Helper()
	return n.TokenOf(n.Claims(userID, displayName, time.Now()))
}

// Claims are those of a token that is made at that time.
func (n *Nextcloud) Claims(userID, displayName string, now time.Time) jwt.MapClaims {
	claims := jwt.MapClaims{"iss": n.URL() + "/", "iat": now.Unix(), "exp": now.Add(tokenLife).Unix()}
	if userID != "" {
		claims["sub"] = userID
		claims["userdata"] = map[string]string{"displayname": displayName}
	}
	return claims
}

// TokenOf signs any claims.
func (n *Nextcloud) TokenOf(claims jwt.MapClaims) string {
	n.t.Helper()
	n.mu.Lock()
	s := n.signing
	n.mu.Unlock()
	token, err := jwt.NewWithClaims(s.method, claims).SignedString(s.key)
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// TokenParams are the params of a hello 2.0.
func (n *Nextcloud) TokenParams(token string) json.RawMessage {
	n.t.Helper()
	return encode(n.t, map[string]string{"token": token})
}

// capabilities shows the public key. How often it was asked is among the questions.
func (n *Nextcloud) capabilities(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	broken, public := n.broken, n.signing.public
	n.asked = append(n.asked, Question{Kind: "capabilities", Header: r.Header.Clone()})
	close(n.news)
	n.news = make(chan struct{})
	n.mu.Unlock()
	if broken != nil {
		broken.ServeHTTP(w, r)
		return
	}
	hash := sha256.Sum256([]byte(public))
	etag := `"` + hex.EncodeToString(hash[:8]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	signaling := map[string]any{}
	if public != "" {
		signaling["hello-v2-token-key"] = public
	}
	reply(w, map[string]any{
		"version": map[string]any{"major": 32, "string": "32.0.0"},
		"capabilities": map[string]any{"spreed": map[string]any{
			"features": []string{"audio", "video", "signaling-v3", "federation-v2"},
			"config":   map[string]any{"signaling": signaling},
		}},
	})
}
