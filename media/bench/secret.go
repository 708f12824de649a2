//go:build linux

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// Secret is what DTLS would have agreed on for one direction: the master key
// and salt of a profile (RFC 3711, RFC 7714), and the stream it is for.
type Secret struct {
	Profile   piondtls.SRTPProtectionProfile
	Key, Salt []byte
	SSRC      uint32
}

func newSecret(p piondtls.SRTPProtectionProfile) Secret {
	s := Secret{Profile: p, Key: make([]byte, 16), Salt: make([]byte, 12)}
	switch p {
	case piondtls.SRTP_AEAD_AES_256_GCM:
		s.Key = make([]byte, 32)
	case piondtls.SRTP_AES128_CM_HMAC_SHA1_80:
		s.Salt = make([]byte, 14)
	}
	var ssrc [4]byte
	for _, b := range [][]byte{s.Key, s.Salt, ssrc[:]} {
		_, _ = rand.Read(b) // never fails
	}
	s.SSRC = binary.BigEndian.Uint32(ssrc[:])
	return s
}

// context is the same for who takes no part in the measurement, and so checks
// sealing.
func (s Secret) context() (*srtp.Context, error) {
	return srtp.CreateContext(s.Key, s.Salt, srtp.ProtectionProfile(s.Profile))
}

// The labels of session keys.
const keyLabel, authLabel, saltLabel = 0, 1, 2

// derive makes a session key of the master key (RFC 3711 4.3).
func (s Secret) derive(label byte, n int) ([]byte, error) {
	block, err := aes.NewCipher(s.Key)
	if err != nil {
		return nil, err
	}
	var iv [aes.BlockSize]byte
	copy(iv[:], s.Salt)
	iv[7] ^= label
	out := make([]byte, n)
	cipher.NewCTR(block, iv[:]).XORKeyStream(out, out)
	return out, nil
}
