package media

import (
	"context"
	"runtime"
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
)

// entrance lets connections begin a few at a time, in the order in which they
// came. When hundreds come at once, those that have begun are done with before
// others begin: if all took turns, none would be connected before the last, and
// handshakes would be repeated for being late, which makes them later.
type entrance struct {
	places chan struct{} // who waits for one is served in turn
}

func newEntrance() entrance {
	return entrance{make(chan struct{}, enteringPerCore*runtime.GOMAXPROCS(0))}
}

// enter waits for a place, which leave gives back: when the connection is
// established or ended. It may be called often.
func (e entrance) enter(ctx context.Context) (leave func(), err error) {
	select {
	case e.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-e.places })
	late := time.AfterFunc(enteringFor, free)
	return func() {
		late.Stop()
		free()
	}, nil
}
