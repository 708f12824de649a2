package media

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who has a place lets the next one in when done, or when too slow.
func TestEntrance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &entrance{places: 2}
		var mu sync.Mutex
		var order []int
		leaves := make(map[int]func())
		for i := range 6 {
			go func() {
				leave, err := e.listener(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
				leaves[i] = leave
			}()
			synctest.Wait() // it waits behind those before it
		}
		expect := func(want ...int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(order, want) {
				t.Errorf("in are %v, want %v", order, want)
			}
		}
		leave := func(i int) {
			mu.Lock()
			f := leaves[i]
			mu.Unlock()
			f()
		}
		expect(0, 1)
		time.Sleep(time.Millisecond) // of the bubble, as below
		leave(1)
		leave(1) // gives back one place only
		expect(0, 1, 2)
		time.Sleep(enteringFor - time.Millisecond - 1)
		expect(0, 1, 2)
		time.Sleep(time.Nanosecond) // 0 and 2 never leave
		expect(0, 1, 2, 3)
		time.Sleep(time.Millisecond)
		expect(0, 1, 2, 3, 4)
		leave(0) // too late to matter
		expect(0, 1, 2, 3, 4)
		leave(3)
		expect(0, 1, 2, 3, 4, 5)
		time.Sleep(time.Hour)
		synctest.Wait()
		if e.places != 2 {
			t.Errorf("%d places are taken for good", 2-e.places)
		}
	})
}

// Who gives up while waiting takes no place.
func TestEntranceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &entrance{places: 1}
		leave, err := e.listener(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), enteringFor/2)
		defer cancel()
		if _, err := e.listener(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		leave()
		if e.places != 1 {
			t.Errorf("%d places are taken", 1-e.places)
		}
	})
}

// A publisher does not wait behind all who want to listen, and these do not wait for
// ever.
func TestPublishersEnterFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &entrance{places: 1}
		leave, err := e.listener(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var order []string
		wait := func(who string, enter func(context.Context) (func(), error)) {
			go func() {
				leave, err := enter(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, who) // one at a time has the place
				leave()
			}()
			synctest.Wait()
		}
		for range 3 {
			wait("listener", e.listener)
		}
		for range 6 {
			wait("publisher", e.publisher)
		}
		leave()
		synctest.Wait()
		p, l := "publisher", "listener"
		if want := []string{p, p, p, l, p, p, p, l, l}; !slices.Equal(order, want) {
			t.Errorf("in came %v", order)
		}
	})
}
