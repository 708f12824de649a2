package cluster

import (
	"sync"
	"testing"

	"github.com/talkd/talkd/store"
)

func leafEvent(i int) store.Event {
	return store.Event{Index: uint64(i), Kind: store.EventHomeAssigned}
}

func TestWatch(t *testing.T) {
	w := newWatchers(func() { t.Error("lagged") })
	w.publish(leafEvent(1)) // nobody reads
	a, cancelA := w.watch()
	b, cancelB := w.watch()
	w.publish(leafEvent(2), leafEvent(3))
	for _, ch := range []<-chan store.Event{a, b} {
		for want := 2; want <= 3; want++ {
			if e := <-ch; e.Index != uint64(want) {
				t.Errorf("event %d, want %d", e.Index, want)
			}
		}
	}
	cancelA()
	cancelA() // twice does no harm
	w.publish(leafEvent(4))
	if e, ok := <-a; ok {
		t.Errorf("event %d after cancel", e.Index)
	}
	if e := <-b; e.Index != 4 {
		t.Errorf("event %d for the other", e.Index)
	}
	cancelB()
	if len(w.subs) != 0 {
		t.Errorf("%d readers are kept", len(w.subs))
	}
}

// A reader that does not read holds up nobody. It is told once that it missed
// something; what comes later it gets again.
func TestWatchLagging(t *testing.T) {
	lagged := 0
	w := newWatchers(func() { lagged++ })
	slow, cancelSlow := w.watch()
	defer cancelSlow()
	for i := 1; i <= watchBuffer; i++ {
		w.publish(leafEvent(i))
	}
	if lagged != 0 {
		t.Fatal("lagged while there was room")
	}
	quick, cancelQuick := w.watch()
	defer cancelQuick()
	w.publish(leafEvent(watchBuffer+1), leafEvent(watchBuffer+2), leafEvent(watchBuffer+3))
	if lagged != 1 {
		t.Errorf("counted %d times, want once", lagged)
	}
	if e := <-slow; e.Kind != store.EventLagged || e.Index != watchBuffer+1 {
		t.Errorf("the slow one reads %+v", e)
	}
	for _, want := range []uint64{watchBuffer + 2, watchBuffer + 3} {
		if e := <-slow; e.Index != want || e.Kind != store.EventHomeAssigned {
			t.Errorf("then it reads %+v, want %d", e, want)
		}
	}
	for want := uint64(watchBuffer + 1); want <= watchBuffer+3; want++ {
		if e := <-quick; e.Index != want || e.Kind != store.EventHomeAssigned {
			t.Errorf("the quick one reads %+v, want %d", e, want)
		}
	}
	// A batch beyond the whole buffer.
	batch := make([]store.Event, 2*watchBuffer)
	for i := range batch {
		batch[i] = leafEvent(i)
	}
	w.publish(batch...)
	if e := <-slow; e.Kind != store.EventLagged {
		t.Errorf("the slow one reads %+v", e)
	}
}

// Readers come and go while events are published; a closed channel is never
// written to.
func TestWatchConcurrently(t *testing.T) {
	w, ticks := newWatchers(func() {}), newTickers()
	stop := make(chan struct{})
	var publisher, readers sync.WaitGroup
	publisher.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				w.publish(leafEvent(i))
				ticks.tick()
			}
		}
	})
	for range 4 {
		readers.Go(func() {
			for range 200 {
				events, cancel := w.watch()
				tick, cancelTick := ticks.watch()
				last := (<-events).Index
				if next := <-events; next.Index <= last {
					t.Errorf("event %d follows %d", next.Index, last)
				}
				<-tick
				cancel()
				cancelTick()
			}
		})
	}
	readers.Wait()
	close(stop)
	publisher.Wait()
	if len(w.subs) != 0 || len(ticks.subs) != 0 {
		t.Errorf("%d and %d readers are kept", len(w.subs), len(ticks.subs))
	}
}

func TestTickers(t *testing.T) {
	ticks := newTickers()
	ticks.tick()
	ch, cancel := ticks.watch()
	select {
	case <-ch:
		t.Error("a tick from before")
	default:
	}
	ticks.tick()
	ticks.tick() // merges with the one that waits
	<-ch
	select {
	case <-ch:
		t.Error("two ticks for a reader that reads later")
	default:
	}
	ticks.tick()
	<-ch
	cancel()
	cancel()
	ticks.tick()
	if _, ok := <-ch; ok {
		t.Error("a tick after cancel")
	}
}
