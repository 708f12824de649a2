package signaling

import (
	"context"
	"time"

	"github.com/talkd/talkd/signaling/wire"
)

// How much a client may say. Web clients repeat three messages about themselves
// to everybody in the call for each connection they get: one that enters a call
// of 50 says 49 x 3 x 49 = 7203 within seconds, as the 49 connections come up.
const (
	rateBurst    = 10_000
	rateInterval = 2 * time.Millisecond // from then on one after the other
	rateBytes    = 512                  // what is longer counts for several
)

// What costs more than its length says.
const (
	costOffer = 20 // a connection for media may come of it
	costRoom  = 20 // a backend is asked
	// costFar is for a room at another server, wherever the client says that is: 19 at
	// once, then one a second.
	costFar = 500
)

// cost is how many tokens a message takes.
func cost(m *wire.ClientMessage, size int) int {
	tokens := 1 + size/rateBytes
	if m.Type == wire.TypeRoom || m.Type == wire.TypeHello {
		tokens += costRoom
	}
	if m.Room != nil && m.Room.Federation != nil {
		tokens += costFar
	}
	return tokens
}

// rate is a bucket of rateBurst tokens, kept as the time when it will be full.
type rate struct{ full time.Time }

// take takes tokens, or says how long it is until they are there.
func (r *rate) take(now time.Time, tokens int) (wait time.Duration) {
	if r.full.Before(now) {
		r.full = now
	}
	full := r.full.Add(time.Duration(tokens) * rateInterval)
	if over := full.Sub(now) - rateBurst*rateInterval; over > 0 {
		return over
	}
	r.full = full
	return 0
}

// owe takes tokens also if they are not there yet, and says how long it is until then.
func (r *rate) owe(now time.Time, tokens int) (wait time.Duration) {
	if wait = r.take(now, tokens); wait > 0 {
		r.take(now.Add(wait), tokens)
	}
	return wait
}

// pause keeps the reader from reading: what the client says too much waits on
// its own side.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
