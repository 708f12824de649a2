package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"

	"github.com/talkd/talkd/store"
)

// A sealed text is base64url of: 1 byte format, 4 bytes key id, then nonce,
// ciphertext and tag of AES-256-GCM. The first five bytes are authenticated
// too; the purpose is bound by deriving a key of its own (RFC 5869).
const (
	sealRing    = "seal" // of the replicated secrets
	sealKeySize = 32
	sealFormat  = 1
	sealHeader  = 5
	// maxSealed bounds what Open looks at.
	maxSealed = 64 << 10
)

// Sealer encrypts small texts that any node of the cluster opens, for one
// purpose. It is safe for concurrent use.
type Sealer struct {
	purpose string
	ring    sealKeys

	mu    sync.Mutex // guards aeads
	aeads map[uint32]cipher.AEAD
}

// sealKeys are the replicated secrets; *store.State has them.
type sealKeys interface {
	Secret(name string, id uint32) (store.Secret, bool)
	Secrets(name string) []store.Secret
}

func newSealer(purpose string, ring sealKeys) *Sealer {
	return &Sealer{purpose: purpose, ring: ring, aeads: make(map[uint32]cipher.AEAD)}
}

// Seal encrypts with the newest key. Before the node is ready there is none,
// and the text is empty.
func (s *Sealer) Seal(plain []byte) string {
	ring := s.ring.Secrets(sealRing)
	if len(ring) == 0 {
		return ""
	}
	id := ring[len(ring)-1].ID
	aead, ok := s.aead(id)
	if !ok {
		return ""
	}
	header := binary.BigEndian.AppendUint32([]byte{sealFormat}, id)
	return base64.RawURLEncoding.EncodeToString(aead.Seal(header, nil, plain, header[:sealHeader:sealHeader]))
}

// Open decrypts what a node of this cluster sealed for the same purpose, with
// any key that is still in the ring. The error never says more than that it is
// not.
func (s *Sealer) Open(sealed string) ([]byte, error) {
	// The decoder skips line breaks: a text must not open in two spellings.
	if len(sealed) > maxSealed || strings.ContainsAny(sealed, "\r\n") {
		return nil, ErrNotSealed
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(b) < sealHeader || b[0] != sealFormat {
		return nil, ErrNotSealed
	}
	aead, ok := s.aead(binary.BigEndian.Uint32(b[1:sealHeader]))
	if !ok {
		return nil, ErrNotSealed
	}
	plain, err := aead.Open(nil, nil, b[sealHeader:], b[:sealHeader])
	if err != nil {
		return nil, ErrNotSealed
	}
	return plain, nil
}

// aead is the cipher of one key. A key that was removed from the ring opens
// nothing, hence the look at the ring each time.
func (s *Sealer) aead(id uint32) (cipher.AEAD, bool) {
	secret, ok := s.ring.Secret(sealRing, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ok {
		delete(s.aeads, id)
		return nil, false
	}
	if a, ok := s.aeads[id]; ok {
		return a, true
	}
	key, err := hkdf.Key(sha256.New, secret.Key, nil, "talkd seal v1 "+s.purpose, 32)
	if err != nil {
		return nil, false
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, false
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, false
	}
	s.aeads[id] = a
	return a, true
}
