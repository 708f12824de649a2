package guesses

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/talkd/talkd/cluster/guesses/internal/guesspb"
	"github.com/talkd/talkd/store"
)

// wires carry what the books of a test tell each other. It is used in bubbles.
type wires struct {
	books map[store.NodeID]*Book
	lost  map[store.NodeID]bool // fails at once
	hung  map[store.NodeID]bool // does not answer

	mu   sync.Mutex
	most int // guarded by mu; guesses of one message
}

type wire struct {
	w  *wires
	to store.NodeID
}

func (w *wires) Dial(id store.NodeID) (grpc.ClientConnInterface, error) { return wire{w, id}, nil }

func (w wire) Invoke(ctx context.Context, _ string, args, _ any, _ ...grpc.CallOption) error {
	switch {
	case w.w.hung[w.to]:
		<-ctx.Done()
		return ctx.Err()
	case w.w.lost[w.to]:
		return status.Error(codes.Unavailable, "lost")
	}
	data, err := proto.Marshal(args.(*guesspb.News))
	if err != nil {
		return err
	}
	var news guesspb.News
	if err := proto.Unmarshal(data, &news); err != nil {
		return err
	}
	w.w.mu.Lock()
	w.w.most = max(w.w.most, len(news.GetGuesses()))
	w.w.mu.Unlock()
	_, err = (&server{b: w.w.books[w.to]}).Tell(ctx, &news)
	return err
}

func (wire) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.ErrUnsupported
}

// start makes the book of a node, and runs it until it is stopped.
func (w *wires) start(ctx context.Context, id store.NodeID) (stop func()) {
	b := New(Config{Peers: w, Others: func() []store.NodeID {
		return slices.DeleteFunc([]store.NodeID{"a", "b", "c"}, func(n store.NodeID) bool { return n == id })
	}})
	w.books[id] = b
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Run(ctx) // it never fails
	}()
	synctest.Wait()
	return func() { cancel(); <-done }
}

// three runs books of three nodes in virtual time.
func three(t *testing.T, f func(t *testing.T, w *wires, restart func(store.NodeID))) {
	synctest.Test(t, func(t *testing.T) {
		w := &wires{books: make(map[store.NodeID]*Book), lost: make(map[store.NodeID]bool), hung: make(map[store.NodeID]bool)}
		stops := make(map[store.NodeID]func())
		for _, id := range []store.NodeID{"a", "b", "c"} {
			stops[id] = w.start(t.Context(), id)
		}
		f(t, w, func(id store.NodeID) {
			stops[id]()
			stops[id] = w.start(t.Context(), id)
		})
		for _, stop := range stops {
			stop()
		}
	})
}

// TestByTurns: who tries one node after the other waits as if all were one.
func TestByTurns(t *testing.T) {
	three(t, func(t *testing.T, w *wires, _ func(store.NodeID)) {
		r, _ := ruleOf(Account)
		guesses, began := 0, time.Now()
		for time.Since(began) < 10*time.Minute {
			for _, id := range []store.NodeID{"a", "b", "c"} {
				if w.books[id].Wait(Account, "ada", here) == 0 {
					w.books[id].Wrong(Account, "ada", here)
					guesses++
				}
				synctest.Wait()
			}
			time.Sleep(100 * time.Millisecond) // of the bubble
		}
		// Five are free, then one after 1, 2, 4, … 256 and 300 s.
		if want := r.free + 9; guesses > want+1 {
			t.Errorf("%d guesses in ten minutes, want %d", guesses, want)
		}
		// Whoever knows the password is believed everywhere.
		time.Sleep(r.longest) // of the bubble
		w.books["b"].Right(Account, "ada", here)
		synctest.Wait()
		for id, b := range w.books {
			if b.size() != 0 {
				t.Errorf("%s still counts", id)
			}
		}
	})
}

// TestRestart: a node that starts anew asks nobody, and the others still count.
func TestRestart(t *testing.T) {
	three(t, func(t *testing.T, w *wires, restart func(store.NodeID)) {
		for range 8 {
			w.books["a"].Wrong(Account, "ada", here)
		}
		synctest.Wait()
		restart("a")
		if w.books["a"].Wait(Account, "ada", here) != 0 {
			t.Error("it remembers")
		}
		if w.books["b"].Wait(Account, "ada", here) != 8*time.Second {
			t.Errorf("b has forgotten: %v", w.books["b"].Wait(Account, "ada", here))
		}
		for range 5 { // what is free there is told as well
			w.books["a"].Wrong(Account, "ada", here)
		}
		synctest.Wait()
		if wait := w.books["c"].Wait(Account, "ada", here); wait != 256*time.Second {
			t.Errorf("at c they are not one: %v", wait)
		}
	})
}

// TestLostPeer: a node that cannot be reached, or hangs, holds nobody up and is not told
// later what would count as new then.
func TestLostPeer(t *testing.T) {
	three(t, func(t *testing.T, w *wires, _ func(store.NodeID)) {
		w.lost["b"], w.hung["c"] = true, true
		for i := range 2*maxUntold + 1 {
			w.books["a"].Wrong(Account, fmt.Sprint(i), here)
		}
		synctest.Wait()
		w.books["a"].mu.Lock()
		waits := len(w.books["a"].peers["c"].untold)
		w.books["a"].mu.Unlock()
		if waits > maxUntold {
			t.Errorf("%d wait for the node that hangs, at most %d", waits, maxUntold)
		}
		time.Sleep(time.Minute) // of the bubble
		var untold dto.Metric
		if err := w.books["a"].metrics.untold.Write(&untold); err != nil || untold.GetCounter().GetValue() != 2*(2*maxUntold+1) {
			t.Errorf("%v untold, %v", untold.GetCounter(), err)
		}
		w.lost["b"], w.hung["c"] = false, false
		w.books["a"].Wrong(Account, "ada", here)
		synctest.Wait()
		for _, id := range []store.NodeID{"b", "c"} {
			if got := w.books[id].size(); got != 1 {
				t.Errorf("%s counts %d, want the one since it is back", id, got)
			}
		}
		if len(w.books["a"].peers) != 0 {
			t.Errorf("%d are still being told", len(w.books["a"].peers))
		}
	})
}

// TestMessagesAreBounded: what happens while a node is being told goes together.
func TestMessagesAreBounded(t *testing.T) {
	three(t, func(t *testing.T, w *wires, _ func(store.NodeID)) {
		for i := range maxUntold {
			w.books["a"].Wrong(Account, fmt.Sprint(i), here)
		}
		synctest.Wait()
		if w.most > maxTold {
			t.Errorf("%d guesses in one message", w.most)
		}
		if n := w.books["b"].size(); n != maxUntold {
			t.Errorf("b has heard of %d", n)
		}
	})
}

func guess(door, subject, from string, wrong uint32) *guesspb.Guess {
	k := keyOf(door, subject, addr(from))
	network, _ := k.network.MarshalBinary() // a valid one
	return &guesspb.Guess{Door: door, Subject: k.subject[:], Network: network, Wrong: wrong}
}

// TestHostilePeer: what another node says cannot keep anybody out for longer than the
// longest pause, count what nobody asks for, nor fill the memory.
func TestHostilePeer(t *testing.T) {
	c := newClock()
	b := New(Config{Now: c.now})
	s := &server{b: b}
	tell := func(g ...*guesspb.Guess) error {
		_, err := s.Tell(t.Context(), &guesspb.News{Guesses: g})
		return err
	}
	for range 3 {
		if err := tell(guess(Account, "ada", "198.51.100.1", math.MaxUint32)); err != nil {
			t.Fatal(err)
		}
	}
	if wait := b.Wait(Account, "ada", here); wait != 5*time.Minute {
		t.Errorf("waits %v", wait)
	}
	b.Right(Account, "ada", here)

	wide, _ := netip.MustParsePrefix("0.0.0.0/0").MarshalBinary()
	host, _ := netip.MustParsePrefix("198.51.100.1/24").MarshalBinary()
	odd := []*guesspb.Guess{
		nil, {},
		{Door: "a door of tomorrow", Subject: make([]byte, 16), Network: host, Wrong: 1},
		{Door: strings.Repeat("x", 1<<16), Subject: make([]byte, 16), Network: host, Wrong: 1},
		{Door: Account, Subject: make([]byte, 16), Network: wide, Wrong: 1},
		{Door: Account, Subject: make([]byte, 16), Network: host, Wrong: 1}, // not masked
		{Door: Account, Subject: make([]byte, 16), Wrong: 1},
		{Door: Account, Subject: make([]byte, 15), Network: guess(Account, "", "192.0.2.1", 1).Network, Wrong: 1},
	}
	if err := tell(odd...); err != nil || b.size() != 0 {
		t.Errorf("%d counters of what no node says, %v", b.size(), err)
	}
	if err := tell(slices.Repeat([]*guesspb.Guess{{}}, maxTold+1)...); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many at once: %v", err)
	}
	for i := range 2 * maxEntries / maxTold {
		var many []*guesspb.Guess
		for j := range maxTold {
			many = append(many, guess(Account, fmt.Sprint(i, j), "192.0.2.1", 1))
		}
		if err := tell(many...); err != nil {
			t.Fatal(err)
		}
	}
	if b.size() != maxEntries {
		t.Errorf("%d counters", b.size())
	}
}

// FuzzTell: whatever a node says is counted within bounds, or not at all.
func FuzzTell(f *testing.F) {
	for _, news := range []*guesspb.News{
		{},
		{Guesses: []*guesspb.Guess{guess(Account, "ada", "198.51.100.1", 1), guess(Hello, "", "2001:db8::1", math.MaxUint32)}},
		{Guesses: []*guesspb.Guess{{Door: Account, Subject: make([]byte, 16), Network: []byte{255}, Right: true}}},
	} {
		data, err := proto.Marshal(news)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var news guesspb.News
		if proto.Unmarshal(data, &news) != nil {
			return
		}
		b := New(Config{Now: newClock().now})
		_, err := (&server{b: b}).Tell(t.Context(), &news)
		if err != nil && b.size() > 0 {
			t.Fatal("refused, and counted")
		}
		for k, e := range b.entries {
			r, known := ruleOf(k.door)
			if !known || e.wrong < 1 || e.wrong > maxWrong || e.open != 0 || r.pause(e.wrong) > r.longest || k.network != network(k.network.Addr()) {
				t.Fatalf("%+v: %+v", k, e)
			}
		}
	})
}
