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
		e := entrance{make(chan struct{}, 2)}
		var mu sync.Mutex
		var order []int
		leaves := make(map[int]func())
		for i := range 6 {
			go func() {
				leave, err := e.enter(t.Context())
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
		leave(1)
		leave(1) // gives back one place only
		expect(0, 1, 2)
		time.Sleep(enteringFor - 1) // of the bubble
		expect(0, 1, 2)
		time.Sleep(time.Nanosecond) // 0 and 2 never leave
		expect(0, 1, 2, 3, 4)
		leave(0) // too late to matter
		expect(0, 1, 2, 3, 4)
		leave(3)
		expect(0, 1, 2, 3, 4, 5)
		time.Sleep(time.Hour) // of the bubble
		synctest.Wait()
		if n := len(e.places); n != 0 {
			t.Errorf("%d places are taken for good", n)
		}
	})
}

// Who gives up while waiting takes no place.
func TestEntranceGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := entrance{make(chan struct{}, 1)}
		leave, err := e.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), enteringFor/2)
		defer cancel()
		if _, err := e.enter(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		leave()
		if n := len(e.places); n != 0 {
			t.Errorf("%d places are taken", n)
		}
	})
}
