package backend

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
)

// tokenKey is the public key of an instance, with the algorithms that go with it.
type tokenKey struct {
	text    string
	key     any
	methods []string
}

// An RSA key must be so long that its signatures prove something, and not so long that
// to look at one takes seconds. In bits.
const (
	minRSA = 2048
	maxRSA = 16384
)

// parseTokenKey reads a key as capabilities have it: PEM, or of Ed25519 the plain
// bytes in base64.
func parseTokenKey(text string) (*tokenKey, error) {
	key, err := decodeKey(text)
	if err != nil {
		return nil, err
	}
	k := &tokenKey{text: text, key: key}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("%w: an RSA key of %d bits", ErrNoTokenKey, bits)
		}
		k.methods = []string{"RS256", "RS384", "RS512"}
	case *ecdsa.PublicKey:
		switch bits := key.Curve.Params().BitSize; bits {
		case 256:
			k.methods = []string{"ES256"}
		case 384:
			k.methods = []string{"ES384"}
		default:
			return nil, fmt.Errorf("%w: a curve of %d bits", ErrNoTokenKey, bits)
		}
	case ed25519.PublicKey:
		k.methods = []string{"EdDSA"}
	default:
		return nil, fmt.Errorf("%w: of a type that signs no tokens", ErrNoTokenKey)
	}
	return k, nil
}

func decodeKey(text string) (any, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: neither PEM nor Ed25519", ErrNoTokenKey)
		}
		return ed25519.PublicKey(raw), nil
	}
	var key any
	var err error
	if block.Type == "RSA PUBLIC KEY" {
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	} else {
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTokenKey, err)
	}
	return key, nil
}

// tokenKeyOf finds the key in an answer to the question for capabilities. PHP
// writes an empty list for what has no members, so each level is read by itself.
func tokenKeyOf(body []byte) (*tokenKey, error) {
	raw := json.RawMessage(body)
	for _, name := range []string{"ocs", "data", "capabilities", "spreed", "config", "signaling", "hello-v2-token-key"} {
		var level map[string]json.RawMessage
		if json.Unmarshal(raw, &level) != nil || level[name] == nil {
			return nil, fmt.Errorf("%w: capabilities without %s", ErrNoTokenKey, name)
		}
		raw = level[name]
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, fmt.Errorf("%w: not a text", ErrNoTokenKey)
	}
	return parseTokenKey(text)
}
