package backend

import (
	"context"
	"sync"
	"time"
)

// An instance that does not answer is given up for a while: who wants in is told at
// once, instead of waiting for its timeout, and what runs already does not need it.
//
//	closed ── maxSilent questions in a row without an answer ──> open, for openFirst
//	open ── time is over: one question goes out to try ──> answered: closed
//	                                                   ──> silent: open, twice as long
const (
	maxSilent = 5
	openFirst = time.Second
	openMost  = 30 * time.Second
)

// verdict is what a question says of the instance.
type verdict int

const (
	answered  verdict = iota
	silent            // no answer, or one of something in front of it
	undecided         // whoever asked did not wait for it
)

// breaker is one for each URL of an instance. Its methods may be called at the same time.
type breaker struct {
	mu      sync.Mutex
	silent  int           // guarded by mu; questions in a row without an answer
	wait    time.Duration // guarded by mu; 0: closed
	until   time.Time     // guarded by mu; open until then
	trying  bool          // guarded by mu; one question is out to try
	changed chan struct{} // guarded by mu; closed and replaced after that question
}

func newBreaker() *breaker { return &breaker{changed: make(chan struct{})} }

// enter lets a question out, or not; try says that it is the one that goes out to
// try. What became of it is told by leave.
func (b *breaker) enter() (try bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.wait == 0:
		return false, nil
	case b.trying || time.Now().Before(b.until):
		return false, ErrGivenUp
	}
	b.trying = true
	return true, nil
}

// leave tells what became of a question, and whether the instance is given up or
// taken up again by that.
func (b *breaker) leave(try bool, v verdict) (opened, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if try {
		b.trying = false
		close(b.changed)
		b.changed = make(chan struct{})
	}
	switch v {
	case answered:
		closed = b.wait > 0
		b.silent, b.wait = 0, 0
	case silent:
		b.silent++
		switch {
		case try:
			b.wait = min(2*b.wait, openMost)
		case b.wait == 0 && b.silent >= maxSilent:
			b.wait, opened = openFirst, true
		default:
			return false, false // it may yet answer, or was out before it was given up
		}
		b.until = time.Now().Add(b.wait)
	}
	return opened, closed
}

// open tells whether the instance is given up.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wait > 0
}

// await waits until a question may go out; it is false if ctx ends before.
func (b *breaker) await(ctx context.Context) bool {
	for {
		b.mu.Lock()
		left, trying, changed := time.Until(b.until), b.trying, b.changed
		free := b.wait == 0 || left <= 0 && !trying
		b.mu.Unlock()
		if free {
			return ctx.Err() == nil
		}
		if trying {
			left = openMost // until that is decided
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}
