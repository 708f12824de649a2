package media

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// enteringPerCore is how many connections are made at a time, for each core.
	// One costs about 10 ms of a core, from the offer to the keys.
	enteringPerCore = 16
	// enteringFor is how long one of them keeps the next one waiting at most: a
	// client that is slow, or never answers, holds up nobody for longer. So there
	// are 64 a second for each core at least.
	enteringFor = 250 * time.Millisecond
	// listenersTurn is which of the places that publishers wait for goes to who
	// listens all the same: nobody waits for ever.
	listenersTurn = 4
)

// entrance lets connections begin a few at a time, in the order in which they
// came. When hundreds come at once, those that have begun are done with before
// others begin: if all took turns, none would be connected before the last, and
// handshakes would be repeated for being late, which makes them later. Publishers
// go before those who listen, of whom each waits for one.
type entrance struct {
	mu         sync.Mutex
	places     int               // guarded by mu; that are free: none while somebody waits
	publishers []chan<- struct{} // guarded by mu; wait, in this order; closed when it is their turn
	listeners  []chan<- struct{} // guarded by mu
	turns      int               // guarded by mu; places that publishers got since a listener did
}

func newEntrance() *entrance { return &entrance{places: enteringPerCore * runtime.GOMAXPROCS(0)} }

// publisher waits for a place, which leave gives back: when the connection is
// established or ended. It may be called often.
func (e *entrance) publisher(ctx context.Context) (leave func(), err error) {
	return e.enter(ctx, &e.publishers)
}

// listener is likewise for who listens.
func (e *entrance) listener(ctx context.Context) (leave func(), err error) {
	return e.enter(ctx, &e.listeners)
}

func (e *entrance) enter(ctx context.Context, queue *[]chan<- struct{}) (leave func(), err error) {
	mine := make(chan struct{})
	e.mu.Lock()
	*queue = append(*queue, mine)
	e.admitLocked()
	e.mu.Unlock()
	select {
	case <-mine:
	case <-ctx.Done():
		if !e.withdraw(mine, queue) {
			e.leave() // its turn came at the same moment
		}
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(e.leave)
	late := time.AfterFunc(enteringFor, free)
	return func() {
		late.Stop()
		free()
	}, nil
}

// withdraw leaves the queue, if it was still there.
func (e *entrance) withdraw(mine chan<- struct{}, queue *[]chan<- struct{}) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(*queue, mine)
	if i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	}
	return i >= 0
}

func (e *entrance) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.places++
	e.admitLocked()
}

func (e *entrance) admitLocked() {
	for e.places > 0 && len(e.publishers)+len(e.listeners) > 0 {
		queue := &e.publishers
		if e.turns++; len(e.publishers) == 0 || len(e.listeners) > 0 && e.turns >= listenersTurn {
			queue, e.turns = &e.listeners, 0
		}
		close((*queue)[0])
		*queue = slices.Delete(*queue, 0, 1)
		e.places--
	}
}
