package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

const (
	gcmNonce = 12
	gcmTag   = 16

	cmAuthKey = 20 // RFC 3711 5.2
	cmTag     = 10 // HMAC_SHA1_80
)

// packetCipher protects and opens packets of RTP and RTCP: b[:head] is readable
// by everybody. index is 48 bits long for RTP, and 31 for RTCP. One belongs to
// one goroutine, or one lock, at a time.
type packetCipher interface {
	// seal puts the protected payload to dst[head:], and returns the packet.
	seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte
	// open puts the packet to dst, without what protects it, and returns its
	// length. Nothing is to be believed of what dst holds otherwise.
	open(dst, b []byte, head int, ssrc uint32, index uint64) (int, bool)
	// openRTCP is open for a packet that ends with its index (RFC 3711 3.4).
	openRTCP(dst, b []byte, ssrc uint32) (int, bool)
	// overhead is by how much seal lengthens a packet.
	overhead() int
}

// gcm is AES-GCM as in RFC 7714. The nonce is here as it would be an allocation
// for each packet anywhere else.
type gcm struct {
	aead  cipher.AEAD
	salt  [gcmNonce]byte
	nonce [gcmNonce]byte
	aad   [rtcpHeader + rtcpIndex]byte
}

func (*gcm) overhead() int { return gcmTag }

// name makes the nonce of a packet (8.1): two zero bytes, SSRC and index,
// exclusive-or the salt. That of RTCP (9.1) is the same, as its index is short.
func (g *gcm) name(ssrc uint32, index uint64) {
	g.nonce[0], g.nonce[1] = g.salt[0], g.salt[1]
	binary.BigEndian.PutUint32(g.nonce[2:], ssrc^binary.BigEndian.Uint32(g.salt[2:]))
	binary.BigEndian.PutUint32(g.nonce[6:], uint32(index>>16)^binary.BigEndian.Uint32(g.salt[6:]))
	binary.BigEndian.PutUint16(g.nonce[10:], uint16(index)^binary.BigEndian.Uint16(g.salt[10:]))
}

func (g *gcm) seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte {
	g.name(ssrc, index)
	return dst[:head+len(g.aead.Seal(dst[head:head], g.nonce[:], payload, dst[:head]))]
}

func (g *gcm) open(dst, b []byte, head int, ssrc uint32, index uint64) (int, bool) {
	g.name(ssrc, index)
	plain, err := g.aead.Open(dst[head:head], g.nonce[:], b[head:], b[:head])
	if err != nil {
		return 0, false
	}
	return copy(dst, b[:head]) + len(plain), true
}

// openRTCP authenticates the index as well (9.2).
func (g *gcm) openRTCP(dst, b []byte, ssrc uint32) (int, bool) {
	end := len(b) - rtcpIndex
	copy(g.aad[copy(g.aad[:], b[:rtcpHeader]):], b[end:])
	g.name(ssrc, uint64(binary.BigEndian.Uint32(b[end:])&^encrypted))
	plain, err := g.aead.Open(dst[rtcpHeader:rtcpHeader], g.nonce[:], b[rtcpHeader:end], g.aad[:])
	if err != nil {
		return 0, false
	}
	return copy(dst, b[:rtcpHeader]) + len(plain), true
}

// cm is AES in counter mode with HMAC-SHA1 of 80 bits (RFC 3711 4.1.1 and 4.2.1),
// for clients without GCM.
type cm struct {
	block  cipher.Block
	mac    hash.Hash
	salt   [maxSalt]byte
	iv     [aes.BlockSize]byte
	stream [short]byte
	roc    [4]byte
	sum    [sha1.Size]byte
}

// short is up to where block by block is cheaper than the counter mode of the
// standard library, which makes eight blocks at once but cannot be used again: it
// allocates for each packet. Voice is shorter. Video of 1200 bytes would take
// three times as long block by block.
const short = 16 * aes.BlockSize

func newCM(block cipher.Block, auth []byte, salt [maxSalt]byte) *cm {
	return &cm{block: block, mac: hmac.New(sha1.New, auth), salt: salt}
}

func (*cm) overhead() int { return cmTag }

// crypt encrypts or decrypts. In the initial counter, the SSRC stands 64 bits and
// the index 16 bits from the right, exclusive-or the salt.
func (c *cm) crypt(dst, src []byte, ssrc uint32, index uint64) {
	copy(c.iv[:], c.salt[:4])
	binary.BigEndian.PutUint32(c.iv[4:], ssrc^binary.BigEndian.Uint32(c.salt[4:]))
	binary.BigEndian.PutUint32(c.iv[8:], uint32(index>>16)^binary.BigEndian.Uint32(c.salt[8:]))
	binary.BigEndian.PutUint16(c.iv[12:], uint16(index)^binary.BigEndian.Uint16(c.salt[12:]))
	c.iv[14], c.iv[15] = 0, 0
	if len(src) > short {
		cipher.NewCTR(c.block, c.iv[:]).XORKeyStream(dst, src)
		return
	}
	for i := 0; i < len(src); i += aes.BlockSize {
		c.iv[15] = byte(i / aes.BlockSize)
		c.block.Encrypt(c.stream[i:], c.iv[:])
	}
	subtle.XORBytes(dst, src, c.stream[:])
}

// tag is valid until the next one.
func (c *cm) tag(b, more []byte) []byte {
	c.mac.Reset()
	c.mac.Write(b)
	c.mac.Write(more)
	return c.mac.Sum(c.sum[:0])[:cmTag]
}

// rolled is the roll-over counter of an index.
func (c *cm) rolled(index uint64) []byte {
	binary.BigEndian.PutUint32(c.roc[:], uint32(index>>16))
	return c.roc[:]
}

func (c *cm) seal(dst []byte, head int, payload []byte, ssrc uint32, index uint64) []byte {
	n := head + len(payload)
	c.crypt(dst[head:n], payload, ssrc, index)
	return append(dst[:n], c.tag(dst[:n], c.rolled(index))...)
}

func (c *cm) open(dst, b []byte, head int, ssrc uint32, index uint64) (int, bool) {
	n := len(b) - cmTag
	if !hmac.Equal(b[n:], c.tag(b[:n], c.rolled(index))) {
		return 0, false
	}
	copy(dst, b[:head])
	c.crypt(dst[head:n], b[head:n], ssrc, index)
	return n, true
}

func (c *cm) openRTCP(dst, b []byte, ssrc uint32) (int, bool) {
	end := len(b) - cmTag
	if !hmac.Equal(b[end:], c.tag(b[:end], nil)) {
		return 0, false
	}
	n := end - rtcpIndex
	copy(dst, b[:rtcpHeader])
	c.crypt(dst[rtcpHeader:n], b[rtcpHeader:n], ssrc, uint64(binary.BigEndian.Uint32(b[n:])&^encrypted))
	return n, true
}
