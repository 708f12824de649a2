package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/talkd/talkd/signaling/wire"
)

// reconnect makes the connection again, with the session of before if it is still
// there.
func (l *Link) reconnect(ctx context.Context, c Client) (resumed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	defer context.AfterFunc(l.leaving, cancel)() // not to take the place of the next link
	for wait := firstPause; ; wait = min(2*wait, lastPause) {
		pause(ctx, l.leaving.Done(), wait/2+rand.N(wait))
		if l.hasLeft() || ctx.Err() != nil {
			return false, cmp.Or(err, wire.ErrFederationFailed)
		}
		if resumed, err = l.again(ctx, c); err == nil || !passing(err) {
			return resumed, err
		}
	}
}

// passing tells whether it is of use to ask again.
func passing(err error) bool {
	if errors.Is(err, ErrReplaced) {
		return false
	}
	return errors.Is(err, wire.ErrFederationFailed) || errors.Is(err, wire.ErrProcessingFailed) || errors.Is(err, wire.ErrTooManyRequests)
}

// errAway: the session at the other server is gone, and so is the client. Perhaps it has
// entered the room with another session, which has ended this one and would be ended by
// the next.
var errAway = fmt.Errorf("%w: nobody to enter the room again for", wire.ErrFederationFailed)

// again is one attempt.
func (l *Link) again(ctx context.Context, c Client) (resumed bool, err error) {
	if l.far.resumeID == "" && c.Away() {
		return false, errAway
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	ln, err := l.dialer.dial(ctx, l.seat.Far.Signaling)
	if err != nil {
		return false, err
	}
	if l.far.resumeID != "" {
		far, err := ln.hello(ctx, wire.Hello{Version: wire.Version, ResumeID: l.far.resumeID})
		if err == nil {
			l.far, l.line = session{far.id, cmp.Or(far.resumeID, l.far.resumeID)}, ln
			return true, nil
		}
		if !errors.Is(err, wire.ErrNoSuchSession) {
			ln.cut()
			return false, err
		}
		if l.far.resumeID = ""; c.Away() {
			ln.cut()
			return false, errAway
		}
	}
	if err := l.enter(ctx, ln); err != nil {
		ln.cut()
		return false, err
	}
	l.line = ln
	l.forget()
	return false, nil
}

// forget drops what waits: it was about connections of the session of before.
func (l *Link) forget() {
	l.held = nil
	for {
		select {
		case <-l.out:
		default:
			return
		}
	}
}
