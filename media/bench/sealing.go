//go:build linux

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"

	piondtls "github.com/pion/dtls/v3"
)

// sealing seals and opens the packets of one stream, with nothing but what the
// standard library has. The header is to[:rtpHeader], or that of the packet; index
// has the roll-over counter in its upper half, the sequence number in its lower.
type sealing interface {
	// seal puts what is sealed to where it belongs behind the header.
	seal(to, payload []byte, ssrc, index uint32)
	// open opens the packet where it is.
	open(packet []byte, ssrc, index uint32) error
	// overhead is by what a packet grows.
	overhead() int
}

func (s Secret) sealing() (sealing, error) {
	key, err := s.derive(keyLabel, len(s.Key))
	if err != nil {
		return nil, err
	}
	salt, err := s.derive(saltLabel, len(s.Salt))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if s.Profile == piondtls.SRTP_AES128_CM_HMAC_SHA1_80 {
		auth, err := s.derive(authLabel, sha1.Size)
		k := &counterMode{block: block, mac: hmac.New(sha1.New, auth)}
		copy(k.salt[:], salt)
		return k, err
	}
	k := &galois{}
	copy(k.salt[:], salt)
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// galois is AES-GCM (RFC 7714).
type galois struct {
	aead        cipher.AEAD
	salt, nonce [12]byte
}

func (*galois) overhead() int { return 16 }

// name makes the nonce (8.1).
func (k *galois) name(ssrc, index uint32) []byte {
	k.nonce = [12]byte{}
	binary.BigEndian.PutUint32(k.nonce[2:], ssrc)
	binary.BigEndian.PutUint32(k.nonce[6:], index>>16)
	binary.BigEndian.PutUint16(k.nonce[10:], uint16(index))
	subtle.XORBytes(k.nonce[:], k.nonce[:], k.salt[:])
	return k.nonce[:]
}

func (k *galois) seal(to, payload []byte, ssrc, index uint32) {
	k.aead.Seal(to[rtpHeader:rtpHeader], k.name(ssrc, index), payload, to[:rtpHeader])
}

func (k *galois) open(p []byte, ssrc, index uint32) error {
	_, err := k.aead.Open(p[rtpHeader:rtpHeader], k.name(ssrc, index), p[rtpHeader:], p[:rtpHeader])
	return err
}

// counterMode is AES in counter mode with HMAC-SHA1 of 80 bits (RFC 3711 4.1.1 and
// 4.2.1).
type counterMode struct {
	block cipher.Block
	mac   hash.Hash
	salt  [16]byte
	iv    [16]byte
	roc   [4]byte
	sum   [sha1.Size]byte
}

var errForged = errors.New("a packet was not sealed by its sender")

func (*counterMode) overhead() int { return 10 }

func (k *counterMode) crypt(to, from []byte, ssrc, index uint32) {
	k.iv = [16]byte{}
	binary.BigEndian.PutUint32(k.iv[4:], ssrc)
	binary.BigEndian.PutUint32(k.iv[8:], index>>16)
	binary.BigEndian.PutUint16(k.iv[12:], uint16(index))
	subtle.XORBytes(k.iv[:], k.iv[:], k.salt[:])
	cipher.NewCTR(k.block, k.iv[:]).XORKeyStream(to, from)
}

func (k *counterMode) tag(b []byte, index uint32) []byte {
	k.mac.Reset()
	k.mac.Write(b)
	binary.BigEndian.PutUint32(k.roc[:], index>>16)
	k.mac.Write(k.roc[:])
	return k.mac.Sum(k.sum[:0])[:k.overhead()]
}

func (k *counterMode) seal(to, payload []byte, ssrc, index uint32) {
	n := rtpHeader + len(payload)
	k.crypt(to[rtpHeader:n], payload, ssrc, index)
	copy(to[n:], k.tag(to[:n], index))
}

func (k *counterMode) open(p []byte, ssrc, index uint32) error {
	n := len(p) - k.overhead()
	if !hmac.Equal(p[n:], k.tag(p[:n], index)) {
		return errForged
	}
	k.crypt(p[rtpHeader:n], p[rtpHeader:n], ssrc, index)
	return nil
}
