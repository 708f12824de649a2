package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	piondtls "github.com/pion/dtls/v3"
)

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

// session are the keys of one direction, for RTP or for RTCP. They never change.
type session struct {
	aead cipher.AEAD  // nil for AES-CM
	ctr  cipher.Block // nil for AES-GCM
	auth []byte       // key of HMAC-SHA1, nil for AES-GCM
	salt [maxSalt]byte
}

// First of three labels each: key, authentication, salt (RFC 3711 4.3.1 and 4.3.2).
const (
	labelRTP  = 0
	labelRTCP = 3
)

const maxSalt = 14

// newSession derives the keys from the master key and salt (RFC 3711 4.3).
func newSession(id piondtls.SRTPProtectionProfile, key, salt []byte, label byte) (*session, error) {
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
	s := &session{}
	copy(s.salt[:], derive(master, salt, label+2, p.salt))
	block, err := aes.NewCipher(derive(master, salt, label, p.key))
	if err != nil {
		return nil, fmt.Errorf("srtp: %w", err)
	}
	if p.gcm {
		if s.aead, err = cipher.NewGCM(block); err != nil {
			return nil, fmt.Errorf("srtp: %w", err)
		}
		return s, nil
	}
	s.ctr, s.auth = block, derive(master, salt, label+1, cmAuthKey)
	return s, nil
}

// cipher makes what uses the keys.
func (s *session) cipher() packetCipher {
	if s.aead != nil {
		return &gcm{aead: s.aead, salt: [gcmNonce]byte(s.salt[:])}
	}
	return newCM(s.ctr, s.auth, s.salt)
}

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
