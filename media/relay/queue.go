package relay

import (
	"sync"

	"github.com/talkd/talkd/media"
)

// queueLen packets wait for the layer's goroutine: a keyframe, or half a
// second of a good video. A packet that finds the queue full is lost, and
// asked for again.
const queueLen = 512

// queue holds packets between the goroutine that reads the socket, which alone
// puts, and that of the layer, which alone takes.
type queue struct {
	ready chan struct{} // holds a value when something was put since the last take

	mu      sync.Mutex // guards what follows
	packets [queueLen]*media.Packet
	first   int
	count   int
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

// room is how many packets put may be given at least.
func (q *queue) room() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return queueLen - q.count
}

// put owns the packets, which must not be more than there is room for.
func (q *queue) put(batch []*media.Packet) {
	q.mu.Lock()
	for _, p := range batch {
		q.packets[(q.first+q.count)%queueLen] = p
		q.count++
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default: // it is told already
	}
}

// take gives what there is, as far as the batch has room, and does not wait.
func (q *queue) take(batch []*media.Packet) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; n < len(batch) && q.count > 0; n++ {
		batch[n] = q.packets[q.first]
		q.packets[q.first] = nil
		q.first = (q.first + 1) % queueLen
		q.count--
	}
	return n
}
