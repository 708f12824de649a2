package srtp

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"hash"
)

const (
	gcmNonce = 12
	gcmTag   = 16

	cmAuthKey = 20 // RFC 3711 5.2
	cmTag     = 10 // HMAC_SHA1_80
)

// gcm is AES-GCM as in RFC 7714. The nonce is here as it would be an allocation
// for each packet anywhere else.
type gcm struct {
	aead  cipher.AEAD
	salt  [gcmNonce]byte
	nonce [gcmNonce]byte
}

func (*gcm) overhead() int { return gcmTag }

func (g *gcm) seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte {
	// 8.1: two zero bytes, SSRC and index, exclusive-or the salt.
	g.nonce[0], g.nonce[1] = g.salt[0], g.salt[1]
	binary.BigEndian.PutUint32(g.nonce[2:], ssrc^binary.BigEndian.Uint32(g.salt[2:]))
	binary.BigEndian.PutUint32(g.nonce[6:], uint32(index>>16)^binary.BigEndian.Uint32(g.salt[6:]))
	binary.BigEndian.PutUint16(g.nonce[10:], uint16(index)^binary.BigEndian.Uint16(g.salt[10:]))
	return dst[:head+len(g.aead.Seal(dst[head:head], g.nonce[:], payload, dst[:head]))]
}

// cm is AES in counter mode with HMAC-SHA1 of 80 bits (RFC 3711 4.1.1 and 4.2.1),
// for clients without GCM. The standard library has no counter mode that can be
// used again, hence one allocation for each packet.
type cm struct {
	block cipher.Block
	mac   hash.Hash
	salt  [maxSalt]byte
	iv    [16]byte
	roc   [4]byte
	sum   [sha1.Size]byte
}

func newCM(block cipher.Block, auth []byte, salt [maxSalt]byte) *cm {
	return &cm{block: block, mac: hmac.New(sha1.New, auth), salt: salt}
}

func (*cm) overhead() int { return cmTag }

func (c *cm) seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte {
	// The SSRC 64 bits and the index 16 bits from the right, exclusive-or the salt.
	copy(c.iv[:], c.salt[:4])
	binary.BigEndian.PutUint32(c.iv[4:], ssrc^binary.BigEndian.Uint32(c.salt[4:]))
	binary.BigEndian.PutUint32(c.iv[8:], uint32(index>>16)^binary.BigEndian.Uint32(c.salt[8:]))
	binary.BigEndian.PutUint16(c.iv[12:], uint16(index)^binary.BigEndian.Uint16(c.salt[12:]))
	n := head + len(payload)
	cipher.NewCTR(c.block, c.iv[:]).XORKeyStream(dst[head:n], payload)
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	c.mac.Reset()
	c.mac.Write(dst[:n])
	c.mac.Write(c.roc[:])
	return append(dst[:n], c.mac.Sum(c.sum[:0])[:cmTag]...)
}
