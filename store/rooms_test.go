package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// roomsState has n rooms, created in an order that is not that of their names.
func roomsState(t testing.TB, n int) *View {
	t.Helper()
	s := NewView()
	dice := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		room := RoomID{Name: fmt.Sprintf("r%06d", i)}
		if i%3 == 0 {
			room.Backend = "cloud"
		}
		s.mem.homes.set(room, Home{
			Node: NodeID(fmt.Sprintf("n%d", i%4)), Epoch: uint64(i + 1),
			Created: time.Unix(dice.Int64N(int64(n/2+1)), 0).UTC(), // some at the same time
		})
	}
	return s
}

// The pages together are all rooms that match, once each and in order.
func TestRoomsPages(t *testing.T) {
	s := roomsState(t, 500)
	for _, q := range []RoomsQuery{
		{Limit: 7}, {Limit: 7, Newest: true}, {Limit: 500}, {Limit: 1000, Newest: true}, {Limit: 3, Home: "n2"},
		{Limit: 4, Search: "cloud~r0001"}, {Limit: 4, Search: "99"}, {Limit: 5, Home: "n9"}, {Limit: 5, Newest: true, Search: "cloud~", Home: "n0"},
	} {
		t.Run(fmt.Sprintf("%+v", q), func(t *testing.T) {
			var want []PlacedRoom
			for room, home := range s.Homes() {
				if (q.Home == "" || q.Home == home.Node) && strings.Contains(room.String(), q.Search) {
					want = append(want, PlacedRoom{room, home})
				}
			}
			slices.SortFunc(want, (&pageHeap{newest: q.Newest}).compare)
			var got []PlacedRoom
			for {
				page, total, next := s.RoomsPage(q)
				if total != len(want) || len(page) > q.Limit {
					t.Fatalf("%d rooms of %d, want at most %d of %d", len(page), total, q.Limit, len(want))
				}
				got = append(got, page...)
				if next == (RoomsCursor{}) {
					break
				}
				var err error
				if q.After, err = ParseRoomsCursor(next.String()); err != nil || q.After != next {
					t.Fatalf("%+v came back as %+v: %v", next, q.After, err)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%d rooms, want %d in order", len(got), len(want))
			}
		})
	}
}

// A page begins behind its cursor also when that room has gone meanwhile.
func TestRoomsPageAfterRoomThatIsGone(t *testing.T) {
	s := roomsState(t, 10)
	page, _, next := s.RoomsPage(RoomsQuery{Limit: 4})
	s.mem.homes.set(page[3].Room, Home{})
	rest, total, _ := s.RoomsPage(RoomsQuery{Limit: 100, After: next})
	if total != 9 || len(rest) != 6 {
		t.Errorf("%d of %d", len(rest), total)
	}
}

func FuzzParseRoomsCursor(f *testing.F) {
	f.Add("")
	f.Add(RoomsCursor{Room: RoomID{Backend: "b", Name: "ä"}, Created: time.Unix(1, 2)}.String())
	f.Add("eyJyIjp7fX0")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseRoomsCursor(text)
		if err != nil || c == (RoomsCursor{}) {
			return
		}
		if again, err := ParseRoomsCursor(c.String()); err != nil || again != c {
			t.Fatalf("%+v came back as %+v: %v", c, again, err)
		}
	})
}

func BenchmarkRoomsPage(b *testing.B) {
	s := roomsState(b, 300_000)
	for _, q := range []RoomsQuery{{Limit: 100}, {Limit: 100, Newest: true}, {Limit: 100, Search: "cloud~r2999"}} {
		b.Run(fmt.Sprintf("newest=%t,search=%q", q.Newest, q.Search), func(b *testing.B) {
			for b.Loop() {
				s.RoomsPage(q)
			}
		})
	}
}

// Commands go on while pages are read; what does not change is always there.
func TestRoomsPageWhileRoomsChange(t *testing.T) {
	s := roomsState(t, 10*2048)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 20_000 {
			s.mu.Lock()
			s.mem.homes.set(RoomID{Name: fmt.Sprintf("z%d", i%3000)}, Home{Node: "n9", Epoch: uint64(i % 2)})
			s.mu.Unlock()
		}
	}()
	for range 5 {
		if page, total, _ := s.RoomsPage(RoomsQuery{Limit: 1 << 20, Search: "r"}); total != 10*2048 || len(page) != total {
			t.Errorf("%d rooms, %d in all", len(page), total)
		}
	}
	<-done
}
