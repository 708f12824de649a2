package media

import "errors"

// Errors that callers tell apart.
var (
	ErrClosed         = errors.New("media: closed")
	ErrBadOffer       = errors.New("media: offer refused")
	ErrBadAnswer      = errors.New("media: answer refused")
	ErrBadCandidate   = errors.New("media: candidate refused")
	ErrBadPublication = errors.New("media: not a publication")
	ErrBadPacket      = errors.New("media: not an RTP packet")
	ErrExists         = errors.New("media: already published")
	ErrNotFound       = errors.New("media: no such publication")
	ErrNoRemote       = errors.New("media: publication is on another node, and there is no relay")
	ErrFull           = errors.New("media: limit reached")
	ErrIncompatible   = errors.New("media: codecs differ, a new connection is needed")
	ErrState          = errors.New("media: not possible in this state of the negotiation")
	ErrConnection     = errors.New("media: connection failed")
	ErrPublisherGone  = errors.New("media: publisher gone")
)

// errPanic ends a pull whose packets made a goroutine panic.
var errPanic = errors.New("media: panic")
