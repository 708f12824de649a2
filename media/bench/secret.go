//go:build linux

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"

	"github.com/pion/srtp/v3"
)

// Secret is what DTLS would have agreed on for one direction: the master key
// and salt of AEAD_AES_256_GCM (RFC 7714), and the stream it is for.
type Secret struct {
	Key, Salt []byte
	SSRC      uint32
}

func newSecret() Secret {
	s := Secret{Key: make([]byte, 32), Salt: make([]byte, 12)}
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
	return srtp.CreateContext(s.Key, s.Salt, srtp.ProtectionProfileAeadAes256Gcm)
}

// sealing seals the packets of one stream.
type sealing struct {
	aead cipher.AEAD
	salt [12]byte
}

func (s Secret) sealing() (k sealing, err error) {
	const keyLabel, saltLabel = 0, 2
	key, err := s.derive(keyLabel, len(s.Key))
	if err != nil {
		return k, err
	}
	salt, err := s.derive(saltLabel, len(k.salt))
	if err != nil {
		return k, err
	}
	copy(k.salt[:], salt)
	block, err := aes.NewCipher(key)
	if err != nil {
		return k, err
	}
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

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

// nonce is that of RFC 7714 8.1; index has the roll-over counter in its upper
// half, the sequence number in its lower one.
func (k *sealing) nonce(to *[12]byte, ssrc, index uint32) {
	to[0], to[1] = 0, 0
	binary.BigEndian.PutUint32(to[2:], ssrc)
	binary.BigEndian.PutUint32(to[6:], index>>16)
	binary.BigEndian.PutUint16(to[10:], uint16(index))
	for i, s := range k.salt {
		to[i] ^= s
	}
}
