package cluster

import (
	"sync"

	"github.com/talkd/talkd/store"
)

// watchBuffer is how far a reader of events may lag.
const watchBuffer = 1024

// watchers hand the state's events to readers. Publishing never waits: it
// happens while the state machine stands still.
type watchers struct {
	lagged func() // counts

	mu   sync.Mutex // guards what follows
	subs map[chan store.Event]struct{}
}

func newWatchers(lagged func()) *watchers {
	return &watchers{lagged: lagged, subs: make(map[chan store.Event]struct{})}
}

// watch adds a reader. cancel closes the channel.
func (w *watchers) watch() (<-chan store.Event, func()) {
	ch := make(chan store.Event, watchBuffer)
	w.mu.Lock()
	w.subs[ch] = struct{}{}
	w.mu.Unlock()
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, ok := w.subs[ch]; ok {
			delete(w.subs, ch)
			close(ch)
		}
	}
}

// publish hands events to all. A reader that is full loses what it has not
// read, and gets one "lagged" in its place: the state itself has it all.
func (w *watchers) publish(events ...store.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.subs {
		for _, e := range events {
			select {
			case ch <- e:
				continue
			default:
			}
			w.lagged()
			drain(ch)
			ch <- store.Event{Index: e.Index, Kind: store.EventLagged} // nobody else sends: there is room
		}
	}
}

func drain(ch chan store.Event) {
	for {
		select {
		case <-ch:
		default:
			return
		}
	}
}

// tickers tell readers that something changed, without saying what.
type tickers struct {
	mu   sync.Mutex // guards subs
	subs map[chan struct{}]struct{}
}

func newTickers() *tickers { return &tickers{subs: make(map[chan struct{}]struct{})} }

func (t *tickers) watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	t.mu.Lock()
	t.subs[ch] = struct{}{}
	t.mu.Unlock()
	return ch, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, ok := t.subs[ch]; ok {
			delete(t.subs, ch)
			close(ch)
		}
	}
}

func (t *tickers) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ch := range t.subs {
		select {
		case ch <- struct{}{}:
		default: // one is waiting already
		}
	}
}
