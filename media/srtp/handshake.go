package srtp

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"sync"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// ErrNoKeys tells that the keys of a connection are not known here: this side
// was not the DTLS server, or used a cipher suite that is unknown here.
var ErrNoKeys = errors.New("srtp: no keys")

// Handshake takes the keys of one DTLS 1.2 handshake of which this side is the
// server. The library gives nobody the keys it derives, but it tells of its
// ServerHello (Hello), and it writes what the keys are derived from to a key
// log (Write), which is memory here and erased when it has been used.
type Handshake struct {
	mu      sync.Mutex
	profile piondtls.SRTPProtectionProfile // guarded by mu, as all below
	hash    func() hash.Hash               // nil before the ServerHello
	server  []byte                         // random
	client  []byte                         // random
	master  []byte                         // secret
}

// Hello is told of the ServerHello that is sent.
func (h *Handshake) Hello(m handshake.MessageServerHello) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hash = nil
	if m.CipherSuiteID == nil {
		return
	}
	for _, x := range m.Extensions {
		if use, ok := x.(*extension.UseSRTP); ok && len(use.ProtectionProfiles) == 1 {
			h.profile = use.ProtectionProfiles[0]
			h.hash = hashOf(piondtls.CipherSuiteID(*m.CipherSuiteID))
		}
	}
	random := m.Random.MarshalFixed()
	h.server = random[:]
}

// hashOf is what a cipher suite's pseudo-random function is made of (RFC 5246 5,
// RFC 5289 3), nil for a suite that is not known.
func hashOf(suite piondtls.CipherSuiteID) func() hash.Hash {
	switch suite {
	case piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, piondtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:
		return sha512.New384
	case piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, piondtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		piondtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, piondtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, piondtls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM, piondtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8:
		return sha256.New
	}
	return nil
}

// Write takes a line of the key log: CLIENT_RANDOM, the client's random and the
// master secret, both in hexadecimal digits.
func (h *Handshake) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fields := bytes.Fields(line)
	if len(fields) == 3 && string(fields[0]) == "CLIENT_RANDOM" {
		h.client, h.master = unhex(fields[1]), unhex(fields[2])
	}
	return len(line), nil
}

func unhex(digits []byte) []byte {
	b := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(b, digits); err != nil {
		return nil
	}
	return b
}

// Lengths of RFC 5246, in bytes.
const (
	randomLen = 32
	masterLen = 48
)

// Sealer returns the Sealer of what the server sends. What the keys are made of
// is forgotten by that, as by Opener: there is one of both. It fails with
// ErrNoKeys when anything is missing.
func (h *Handshake) Sealer() (*Sealer, error) {
	k, err := h.take()
	if err != nil {
		return nil, err
	}
	defer clear(k.material)
	return NewSealer(k.profile, k.key(1), k.salt(1))
}

// Opener returns the Opener of what the client sends.
func (h *Handshake) Opener() (*Opener, error) {
	k, err := h.take()
	if err != nil {
		return nil, err
	}
	defer clear(k.material)
	return NewOpener(k.profile, k.key(0), k.salt(0))
}

// Both returns Sealer and Opener.
func (h *Handshake) Both() (*Sealer, *Opener, error) {
	k, err := h.take()
	if err != nil {
		return nil, nil, err
	}
	defer clear(k.material)
	s, err := NewSealer(k.profile, k.key(1), k.salt(1))
	if err != nil {
		return nil, nil, err
	}
	o, err := NewOpener(k.profile, k.key(0), k.salt(0))
	if err != nil {
		return nil, nil, err
	}
	return s, o, nil
}

// keys are those of both directions.
type keys struct {
	profile  piondtls.SRTPProtectionProfile
	lengths  profile
	material []byte
}

// RFC 5764 4.2: keys of client and server, then their salts.
func (k *keys) key(side int) []byte { return k.material[side*k.lengths.key:][:k.lengths.key] }

func (k *keys) salt(side int) []byte {
	return k.material[2*k.lengths.key+side*k.lengths.salt:][:k.lengths.salt]
}

func (h *Handshake) take() (*keys, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.forgetLocked()
	if h.hash == nil || len(h.server) != randomLen || len(h.client) != randomLen || len(h.master) != masterLen {
		return nil, ErrNoKeys
	}
	p, err := profileOf(h.profile)
	if err != nil {
		return nil, err
	}
	seed := append(append([]byte("EXTRACTOR-dtls_srtp"), h.client...), h.server...)
	return &keys{h.profile, p, prf(h.hash, h.master, seed, 2*(p.key+p.salt))}, nil
}

func (h *Handshake) forgetLocked() {
	clear(h.master)
	h.hash, h.server, h.client, h.master = nil, nil, nil, nil
}

// prf is the pseudo-random function of TLS 1.2 (RFC 5246 5), the seed beginning
// with the label. That makes it the exporter of RFC 5705 without a context.
func prf(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	sum := func(parts ...[]byte) []byte {
		mac.Reset()
		for _, p := range parts {
			mac.Write(p)
		}
		return mac.Sum(nil)
	}
	var out []byte
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}
