// Package srtp seals the RTP packets that one connection sends, straight into the
// buffer that goes to the socket, and opens what one receives straight from the
// buffer of the socket (RFC 3711, and RFC 7714 for AES-GCM):
//
//	hooks of the DTLS handshake ─▶ Handshake ─▶ Sealer ─▶ Stream (one an SSRC)
//	                                       └──▶ Opener
//	header in place, payload ─▶ Stream.Seal ─▶ the same buffer, sealed
//	datagram of RTP or RTCP ─▶ Opener ─▶ another buffer, open
//
// The library does the same, but only by way of its own buffers and paths, which
// cost more than the cipher. RTCP that is sent stays with it. The package starts
// no goroutine.
package srtp

import (
	"errors"
	"sync"

	piondtls "github.com/pion/dtls/v3"
)

// Errors of this package.
var (
	// ErrProfile tells that a protection profile is not known here.
	ErrProfile = errors.New("srtp: unknown protection profile")
	// ErrTaken tells that an SSRC has a Stream already.
	ErrTaken = errors.New("srtp: the SSRC is in use")
	// ErrNonce tells that sealing could use a nonce a second time.
	ErrNonce = errors.New("srtp: the nonce may have been used")
	// ErrRoom tells that a buffer is too small.
	ErrRoom = errors.New("srtp: no room")
	// ErrPacket tells that a packet is no one, is forged, or came before.
	ErrPacket = errors.New("srtp: not a packet of the other side")
	// ErrStreams tells that the other side has more SSRCs than it may.
	ErrStreams = errors.New("srtp: too many SSRCs")
)

// MaxOverhead is by how much sealing lengthens a packet at most.
const MaxOverhead = gcmTag

// Sealer holds the keys of one connection's outgoing packets. It never changes
// but for the SSRCs that are in use, and may be used by several goroutines.
type Sealer struct {
	keys *session

	mu    sync.Mutex
	taken map[uint32]struct{} // guarded by mu
}

// NewSealer takes the master key and salt.
func NewSealer(id piondtls.SRTPProtectionProfile, key, salt []byte) (*Sealer, error) {
	keys, err := newSession(id, key, salt, labelRTP)
	if err != nil {
		return nil, err
	}
	return &Sealer{keys: keys, taken: map[uint32]struct{}{}}, nil
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
	return &Stream{ssrc: ssrc, cipher: s.keys.cipher()}, nil
}
