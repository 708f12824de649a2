package signaling

import "sync"

// What waits for a room is bounded. Whoever finds the inbox full is refused: an
// edge then starts over with a snapshot, a client gets an error.
const (
	maxInbox      = 16_384
	maxInboxBytes = 32 << 20
)

// inbox is a bounded queue that nobody waits at, so that a room and the edges
// on its own node can post to each other whatever they hold.
type inbox struct {
	mu     sync.Mutex
	items  []func() // guarded by mu
	bytes  int      // guarded by mu
	closed bool     // guarded by mu
	wake   chan struct{}
}

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) post(f func()) error { return b.postBytes(f, 0) }

// postBytes is post for what holds on to n bytes.
func (b *inbox) postBytes(f func(), n int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrNotHome
	}
	if len(b.items) >= maxInbox || b.bytes+n > maxInboxBytes {
		return errFull
	}
	b.bytes += n
	b.items = append(b.items, f)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return nil
}

// take gives all that waits; it is false if there will be no more.
func (b *inbox) take() ([]func(), bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items, b.bytes = nil, 0
	return items, !b.closed
}

func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	select {
	case b.wake <- struct{}{}:
	default:
	}
}
