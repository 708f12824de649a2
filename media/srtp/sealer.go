// Package srtp seals the RTP packets that one connection sends (RFC 3711, and
// RFC 7714 for AES-GCM) straight into the buffer that goes to the socket:
//
//	hooks of the DTLS handshake ─▶ Handshake ─▶ Sealer ─▶ Stream (one an SSRC)
//	header in place, payload ─▶ Stream.Seal ─▶ the same buffer, sealed
//
// The library seals as well, but only by way of its own buffers and write path,
// which cost more than the cipher. What is received, and RTCP both ways, stays
// with it. The package starts no goroutine.
package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"

	piondtls "github.com/pion/dtls/v3"
)

// Errors of a Sealer and its Streams.
var (
	// ErrProfile tells that a protection profile is not known here.
	ErrProfile = errors.New("srtp: unknown protection profile")
	// ErrTaken tells that an SSRC has a Stream already.
	ErrTaken = errors.New("srtp: the SSRC is in use")
	// ErrNonce tells that sealing could use a nonce a second time.
	ErrNonce = errors.New("srtp: the nonce may have been used")
	// ErrRoom tells that a buffer is too small.
	ErrRoom = errors.New("srtp: no room")
)

// MaxOverhead is by how much sealing lengthens a packet at most.
const MaxOverhead = gcmTag

// profile holds the lengths of a protection profile, in bytes.
type profile struct {
	key, salt int
	gcm       bool
}

func profileOf(id piondtls.SRTPProtectionProfile) (profile, error) {
	switch id {
	case piondtls.SRTP_AEAD_AES_256_GCM:
		return profile{key: 32, salt: 12, gcm: true}, nil
	case piondtls.SRTP_AEAD_AES_128_GCM:
		return profile{key: 16, salt: 12, gcm: true}, nil
	case piondtls.SRTP_AES128_CM_HMAC_SHA1_80:
		return profile{key: 16, salt: 14}, nil
	}
	return profile{}, fmt.Errorf("%w: %#04x", ErrProfile, uint16(id))
}

// Sealer holds the keys of one connection's outgoing packets. It never changes
// but for the SSRCs that are in use, and may be used by several goroutines.
type Sealer struct {
	aead cipher.AEAD  // nil for AES-CM
	ctr  cipher.Block // nil for AES-GCM
	auth []byte       // key of HMAC-SHA1, nil for AES-GCM
	salt [maxSalt]byte

	mu    sync.Mutex
	taken map[uint32]struct{} // guarded by mu
}

// NewSealer derives the session keys from the master key and salt (RFC 3711
// 4.3).
func NewSealer(id piondtls.SRTPProtectionProfile, key, salt []byte) (*Sealer, error) {
	p, err := profileOf(id)
	if err != nil {
		return nil, err
	}
	if len(key) != p.key || len(salt) != p.salt {
		return nil, fmt.Errorf("%w: key of %d and salt of %d bytes", ErrProfile, len(key), len(salt))
	}
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("srtp: %w", err)
	}
	s := &Sealer{taken: map[uint32]struct{}{}}
	copy(s.salt[:], derive(master, salt, labelSalt, p.salt))
	session, err := aes.NewCipher(derive(master, salt, labelKey, p.key))
	if err != nil {
		return nil, fmt.Errorf("srtp: %w", err)
	}
	if p.gcm {
		if s.aead, err = cipher.NewGCM(session); err != nil {
			return nil, fmt.Errorf("srtp: %w", err)
		}
		return s, nil
	}
	s.ctr, s.auth = session, derive(master, salt, labelAuth, cmAuthKey)
	return s, nil
}

// Stream returns what seals the packets of an SSRC. There is one for each at
// most, ever: a second one would count from zero again, and use nonces twice.
func (s *Sealer) Stream(ssrc uint32) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.taken[ssrc]; ok {
		return nil, ErrTaken
	}
	s.taken[ssrc] = struct{}{}
	t := &Stream{ssrc: ssrc}
	if s.aead != nil {
		t.cipher = &gcm{aead: s.aead, salt: [gcmNonce]byte(s.salt[:])}
	} else {
		t.cipher = newCM(s.ctr, s.auth, s.salt)
	}
	return t, nil
}

// Labels of RFC 3711 4.3.1.
const (
	labelKey  = 0
	labelAuth = 1
	labelSalt = 2
)

const maxSalt = 14

// derive is AES-CM as a pseudo-random function, with a key derivation rate of
// zero (RFC 3711 4.3.1 and 4.3.3). The label stands before the 48 bits of the
// index, which is zero.
func derive(master cipher.Block, salt []byte, label byte, n int) []byte {
	var x [aes.BlockSize]byte
	copy(x[:], salt) // one of 12 bytes is followed by zeros, RFC 7714 11
	x[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(master, x[:]).XORKeyStream(out, out)
	return out
}
