package mcu

import (
	"context"
	"errors"
	"fmt"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

// Why a request was given up before it was done.
var (
	// errSuperseded: a newer request does the same.
	errSuperseded = errors.New("mcu: asked again")
	// errOver: the connection is not wanted any more.
	errOver = errors.New("mcu: connection ended")
)

// errUnknownSID is for messages about a connection that is gone, which are
// common: clients send candidates until they know.
var errUnknownSID = fmt.Errorf("%w: no such sid", wire.ErrClientNotFound)

// refusals says what errors of media are for a client. It is read only.
var refusals = []struct{ media, wire error }{
	{media.ErrBadOffer, wire.ErrInvalidSDP},
	{media.ErrBadAnswer, wire.ErrInvalidSDP},
	{media.ErrBadCandidate, wire.ErrInvalidCandidate},
	{media.ErrFull, wire.ErrTooManyRequests},
	{media.ErrClosed, wire.ErrClientNotFound},
	{media.ErrNotFound, wire.ErrClientNotFound},
	{media.ErrPublisherGone, wire.ErrClientNotFound},
	{errOver, wire.ErrClientNotFound},
	{context.DeadlineExceeded, wire.ErrProcessingFailed},
	{context.Canceled, wire.ErrProcessingFailed},
}

// refusal makes of err what the client may be told. An error that is in no
// table, such as one of a directory, is passed on: package wire knows its own.
func refusal(err error) error {
	if err == nil || errors.Is(err, errSuperseded) {
		return nil
	}
	for _, r := range refusals {
		if errors.Is(err, r.media) {
			return fmt.Errorf("%w: %w", r.wire, err)
		}
	}
	return err
}

// final tells whether there is no point in trying to subscribe again.
func final(err error) bool {
	for _, e := range []error{media.ErrFull, media.ErrClosed, media.ErrBadPublication} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
