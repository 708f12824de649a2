package backend

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
)

// Headers of requests between instances and signaling servers.
const (
	HeaderRandom   = "Spreed-Signaling-Random"
	HeaderChecksum = "Spreed-Signaling-Checksum"
	HeaderBackend  = "Spreed-Signaling-Backend"
	HeaderFeatures = "X-Spreed-Signaling-Features"
)

// Limits of the random, in characters. The protocol asks for 32 at least.
const (
	minRandom = 32
	maxRandom = 1024
)

// Checksum is the hex HMAC-SHA256 of the random followed by the body.
func Checksum(secret []byte, random string, body []byte) string {
	return hex.EncodeToString(sum(secret, random, body))
}

// VerifyChecksum tells, in constant time, whether the checksum is right.
func VerifyChecksum(secret []byte, random string, body []byte, checksum string) bool {
	if len(secret) == 0 || len(random) < minRandom || len(random) > maxRandom {
		return false
	}
	given, err := hex.DecodeString(checksum)
	return err == nil && hmac.Equal(given, sum(secret, random, body))
}

func sum(secret []byte, random string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(random))
	mac.Write(body)
	return mac.Sum(nil)
}

// Sign sets the headers that prove a body comes from who shares the secret. The
// base URL names the instance, on whichever side it is.
func Sign(h http.Header, secret []byte, baseURL string, body []byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	random := hex.EncodeToString(b[:])
	h.Set(HeaderRandom, random)
	h.Set(HeaderChecksum, Checksum(secret, random, body))
	h.Set(HeaderBackend, baseURL)
}
