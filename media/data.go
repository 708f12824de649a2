package media

import (
	"sync"
	"sync/atomic"
)

// fanout hands the data-channel messages of a publisher to all who subscribed.
type fanout struct {
	mu      sync.Mutex
	subs    map[*DataSubscription]struct{} // guarded by mu
	dropped atomic.Uint64
}

// DataSubscription is a bounded queue of messages to one receiver.
type DataSubscription struct {
	c chan DataMessage
	f *fanout
}

func (f *fanout) subscribe() *DataSubscription {
	s := &DataSubscription{c: make(chan DataMessage, DataQueue), f: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subs == nil {
		f.subs = make(map[*DataSubscription]struct{})
	}
	f.subs[s] = struct{}{}
	return s
}

// publish never blocks: who does not keep up loses messages, which is counted.
func (f *fanout) publish(m DataMessage) {
	if len(m.Data) > MaxDataMessage {
		f.dropped.Add(1)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		select {
		case s.c <- m:
		default:
			f.dropped.Add(1)
		}
	}
}

// C brings the messages. It is never closed: select on the publication's Done
// as well.
func (s *DataSubscription) C() <-chan DataMessage { return s.c }

// Close ends the subscription.
func (s *DataSubscription) Close() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.subs, s)
}
