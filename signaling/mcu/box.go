package mcu

import (
	"context"
	"slices"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/wire"
)

// what a request wants.
type what uint8

const (
	offer      what = iota + 1 // the client publishes
	ask                        // the client, or a sharer, wants an offer for the client
	answer                     // the client answers an offer
	candidate                  // the client has a candidate
	unshare                    // the client ends one connection of its screen
	choose                     // the client chooses layers
	local                      // the engine has a candidate
	failed                     // the engine's connection has failed
	restrained                 // the engine leaves out video, or no longer does
	expired                    // a deadline of a connection has passed
	announced                  // there is a new publication
	withdrawn                  // a publication is over
	end                        // everything is over
)

// fromClient requests count against the bound of a box, as do the engine's
// candidates. The others are few by nature, or are merged in addLocked.
func (w what) fromClient() bool { return w >= offer && w <= choose }

// request is one thing to do for a link. Which fields are set depends on what.
type request struct {
	what  what
	m     *wire.MediaMessage // offer, answer, candidate, choose; ask: nil unless by the client
	reply func(error)        // the same; never nil there
	c     *connection        // local, failed, restrained, expired
	cand  media.Candidate    // local
	err   error              // failed
	left  media.Restraint    // restrained
	pub   media.Publication  // announced
	id    media.PubID        // withdrawn
	again bool               // ask: made by the link itself, which keeps the first deadline
}

// done tells the client how the request ended.
func (r request) done(err error) {
	if r.reply != nil {
		r.reply(refusal(err))
	}
}

// renegotiates tells whether the client asks for an offer for a connection it
// has.
func (r request) renegotiates() bool { return r.what == ask && r.m != nil && r.m.SID != "" }

// handler does the work of a box, one request after the other.
type handler interface {
	handle(ctx context.Context, r request)
	// idleLocked is told that there is no more work.
	idleLocked()
}

// box is the queue of a link, and the worker that is there while there is work.
// All fields are guarded by mu of the desk.
type box struct {
	queue   []request
	used    bool // something has begun that could be ended
	working bool
	current what // what the worker is doing
	cancel  context.CancelCauseFunc
}

// addLocked puts a request into the box and returns those it takes the place
// of, to be answered without the lock. It is false if the box is full.
func (b *box) addLocked(r request, bound int) (replaced []request, ok bool) {
	switch {
	case r.what == end:
		replaced, b.queue = b.queue, nil
		b.interruptLocked(errOver)
	case r.again && slices.ContainsFunc(b.queue, func(q request) bool { return q.what == ask && !q.renegotiates() }):
		return nil, true // somebody else has asked meanwhile
	case r.what == offer, r.what == answer, r.what == ask && !r.renegotiates():
		// Only the newest counts: the client has given up what the others were
		// about. So no more than one description of each kind waits.
		replaced = b.takeLocked(func(old request) bool { return old.what == r.what })
	case r.what == announced:
		for i := range b.queue {
			if q := &b.queue[i]; q.what == announced {
				if newer(r.pub.ID, q.pub.ID) {
					q.pub = r.pub
				}
				return nil, true
			}
		}
	case r.what == restrained:
		b.takeLocked(func(old request) bool { return old.what == restrained && old.c == r.c })
	case r.what == withdrawn:
		b.takeLocked(func(old request) bool { return old.what == withdrawn && !newer(old.id, r.id) })
	}
	if n := b.countLocked(r.what); n >= bound && (r.what == local || r.what.fromClient()) {
		return replaced, false
	}
	if r.what == ask && !r.renegotiates() && (b.current == ask || b.current == announced) {
		// What follows from an announcement is done by the new request as well.
		b.interruptLocked(errSuperseded)
	}
	b.queue = append(b.queue, r)
	return replaced, true
}

// countLocked counts what shares the bound of w: the client's requests, or
// those of w's own kind.
func (b *box) countLocked(w what) int {
	n := 0
	for _, q := range b.queue {
		if q.what == w || q.what.fromClient() && w.fromClient() {
			n++
		}
	}
	return n
}

func (b *box) interruptLocked(cause error) {
	if b.cancel != nil {
		b.cancel(cause)
	}
}

// takeLocked takes out the requests that match.
func (b *box) takeLocked(match func(request) bool) (taken []request) {
	b.queue = slices.DeleteFunc(b.queue, func(r request) bool {
		if match(r) {
			taken = append(taken, r)
			return true
		}
		return false
	})
	return taken
}

// newer tells whether a publication takes the place of another one.
func newer(a, than media.PubID) bool {
	if a.Session != than.Session || a.Kind != than.Kind {
		return false
	}
	if a.Incarnation != than.Incarnation {
		return a.Incarnation > than.Incarnation
	}
	return a.Generation > than.Generation
}
