package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// theatre is the cluster, the rooms and the database as one node sees them.
type theatre struct {
	events chan store.Event

	mu    sync.Mutex // guards what follows
	homes map[store.RoomID]store.NodeID
	book  map[string]api.Conversation
	rooms map[string][]signaling.SessionStatus
	fails error           // of Notify
	hangs map[string]bool // rooms that answer nothing
	told  []string

	stuck         bool        // the database answers nothing
	asking, asked int         // of the database: now, and at most at the same time
	looked        []time.Time // at the rooms
}

func (s *theatre) Watch() (<-chan store.Event, func()) { return s.events, func() {} }

func (s *theatre) Lookup(id store.RoomID) (store.Home, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node, ok := s.homes[id]
	return store.Home{Node: node}, ok
}

func (s *theatre) HomesOf(node store.NodeID) (list []store.RoomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range s.homes {
		if at == node {
			list = append(list, id)
		}
	}
	return list
}

func (s *theatre) Conversation(ctx context.Context, room string) (api.Conversation, error) {
	s.mu.Lock()
	stuck := s.stuck
	s.asking++
	s.asked = max(s.asked, s.asking)
	s.mu.Unlock()
	if stuck {
		<-ctx.Done()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking--
	if stuck {
		return api.Conversation{}, ctx.Err()
	}
	c, ok := s.book[room]
	if !ok {
		return c, api.ErrNoRoom
	}
	return c, nil
}

func (s *theatre) RoomStatus(ctx context.Context, id store.RoomID) (signaling.RoomStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = append(s.looked, time.Now())
	return signaling.RoomStatus{Sessions: slices.Clone(s.rooms[id.Name])}, ctx.Err()
}

// Notify does to the room what signaling does, and writes it down.
func (s *theatre) Notify(ctx context.Context, id store.RoomID, r backend.Request) error {
	s.mu.Lock()
	hangs := s.hangs[id.Name]
	s.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return s.fails
	}
	line := r.Type + " " + id.String()
	stays := func(signaling.SessionStatus) bool { return true }
	switch r.Type {
	case backend.TypeDelete:
		stays = func(signaling.SessionStatus) bool { return false }
	case backend.TypeDisinvite:
		d := r.Disinvite
		slices.Sort(d.SessionIDs)
		line += fmt.Sprint(" ", d.UserIDs, d.SessionIDs)
		stays = func(x signaling.SessionStatus) bool {
			return !slices.Contains(d.UserIDs, x.UserID) && !slices.Contains(d.SessionIDs, x.RoomSession)
		}
	case backend.TypeUpdate:
		line += fmt.Sprint(" ", r.Update.UserIDs)
	}
	s.told = append(s.told, line)
	s.rooms[id.Name] = slices.DeleteFunc(s.rooms[id.Name], func(x signaling.SessionStatus) bool { return !stays(x) })
	return nil
}

// change is what happens while nobody looks.
func (s *theatre) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *theatre) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.told, want) {
		t.Errorf("%s: told %q, want %q", when, s.told, want)
	}
	s.told = nil
}

func at(name string) store.RoomID { return store.RoomID{Name: name} }

func present(users ...string) (list []signaling.SessionStatus) {
	for i, u := range users {
		list = append(list, signaling.SessionStatus{UserID: u, RoomSession: wire.RoomSessionID(fmt.Sprint("s-", cmp.Or(u, fmt.Sprint("guest", i))))})
	}
	return list
}

func removed(room, user string) store.Event {
	return store.Event{Kind: store.EventAttendeeRemoved, Room: at(room), Attendee: store.Attendee{ActorType: store.ActorUsers, ActorID: user}}
}

// play runs node n1, the home of "team" with ada and bob in it, both of whom
// belong there.
func play(t *testing.T, script func(t *testing.T, s *theatre)) {
	synctest.Test(t, func(t *testing.T) {
		s := &theatre{
			events: make(chan store.Event, 1024),
			homes:  map[store.RoomID]store.NodeID{at("team"): "n1", {Backend: "cloud", Name: "team"}: "n1"},
			book:   map[string]api.Conversation{"team": {Users: []string{"ada", "bob"}}},
			rooms:  map[string][]signaling.SessionStatus{"team": present("ada", "bob")},
			hangs:  map[string]bool{},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newConversations("n1", s, s, s, slog.New(slog.DiscardHandler)).Run(ctx) }()
		time.Sleep(2 * certain) // of the bubble, like all others here: what it does at its start is over
		s.expect(t, "at the start")
		script(t, s)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestHomeTellsItsRoom(t *testing.T) {
	play(t, func(t *testing.T, s *theatre) {
		s.change(func() { s.book["team"] = api.Conversation{Users: []string{"ada"}} })
		s.events <- removed("team", "bob")
		s.events <- store.Event{Kind: store.EventConversationChanged, Room: at("team")}
		s.events <- store.Event{Kind: store.EventConversationDeleted, Room: at("team")}
		s.events <- store.Event{Kind: store.EventConversationDeleted, Room: at("elsewhere")}
		s.events <- removed("team", "ada") // and invited again
		s.expect(t, "at once", "disinvite team [bob] []", "update team [ada]", "delete team")
	})
}

// TestToldUntilDelivered: a home that cannot act now tells as soon as it can.
func TestToldUntilDelivered(t *testing.T) {
	play(t, func(t *testing.T, s *theatre) {
		s.change(func() {
			s.fails = signaling.ErrDetached
			s.book["team"] = api.Conversation{Users: []string{"ada"}}
		})
		s.events <- removed("team", "bob")
		time.Sleep(time.Minute)
		s.expect(t, "detached")
		s.change(func() { s.fails = nil })
		time.Sleep(longestPause + certain)
		s.expect(t, "attached again", "disinvite team [] [s-bob]")
		time.Sleep(time.Minute)
		s.expect(t, "afterwards")
	})
}

// TestMissedDecision: what nobody told is found by the next home, by one that
// lost events, and after a while in any case.
func TestMissedDecision(t *testing.T) {
	for kind, e := range map[string]store.Event{
		"next home": {Kind: store.EventHomeAssigned, Room: at("team"), Home: store.Home{Node: "n1"}},
		"lagged":    {Kind: store.EventLagged},
		"restored":  {Kind: store.EventRestored},
		"no event":  {},
	} {
		for _, gone := range []bool{true, false} {
			t.Run(fmt.Sprint(kind, " ", gone), func(t *testing.T) {
				play(t, func(t *testing.T, s *theatre) {
					s.change(func() {
						s.homes[at("team")] = "n2"
						s.book["team"] = api.Conversation{Users: []string{"ada"}}
						s.rooms["team"] = present("ada", "bob", "") // a guest, from when it was public
						if gone {
							delete(s.book, "team")
						}
					})
					s.events <- removed("team", "bob")
					time.Sleep(certain)
					s.expect(t, "at home elsewhere")
					s.change(func() { s.homes[at("team")] = "n1" })
					s.events <- e
					if kind == "no event" {
						time.Sleep(lookAgain)
					}
					time.Sleep(certain)
					if gone {
						s.expect(t, kind, "delete team")
					} else {
						s.expect(t, kind, "disinvite team [] [s-bob s-guest2]")
					}
				})
			})
		}
	}
}

// TestNobodyLeavesTooSoon: an edge may know before the home that somebody was
// invited, and in a public room anybody may be.
func TestNobodyLeavesTooSoon(t *testing.T) {
	play(t, func(t *testing.T, s *theatre) {
		s.change(func() { s.rooms["team"] = present("ada", "bob", "carl") })
		s.events <- store.Event{Kind: store.EventLagged}
		time.Sleep(certain - time.Millisecond)
		s.change(func() { s.book["team"] = api.Conversation{Users: []string{"ada", "bob", "carl"}} })
		time.Sleep(time.Minute)
		s.expect(t, "invited")
		s.change(func() { s.book["team"] = api.Conversation{Public: true}; s.rooms["team"] = present("ada", "dave", "") })
		time.Sleep(time.Minute)
		s.expect(t, "public")
	})
}

// TestRoomsDoNotWaitForEachOther: one that hangs holds up no other, and what
// waits for it is bounded.
func TestRoomsDoNotWaitForEachOther(t *testing.T) {
	play(t, func(t *testing.T, s *theatre) {
		s.change(func() {
			s.homes[at("stuck")], s.hangs["stuck"] = "n1", true
			s.book["stuck"] = api.Conversation{Users: []string{"ada"}}
			s.rooms["stuck"] = present("ada", "bob")
			s.book["team"] = api.Conversation{Users: []string{"ada"}}
		})
		for range 10 * maxUntold {
			s.events <- removed("stuck", "bob")
		}
		s.events <- removed("team", "bob")
		s.expect(t, "while one hangs", "disinvite team [bob] []")
		s.change(func() { s.hangs["stuck"] = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.told); n == 0 || n > maxUntold+1 || !strings.HasPrefix(s.told[0], "disinvite stuck") {
			t.Errorf("told %d times: %q", n, s.told)
		}
	})
}

// TestDatabaseIsSpared: about many rooms it is not asked at once, neither when
// all are compared nor by turns, and what it does not answer is asked again.
func TestDatabaseIsSpared(t *testing.T) {
	const rooms = 100
	play(t, func(t *testing.T, s *theatre) {
		s.change(func() {
			for i := range rooms {
				name := fmt.Sprint("r", i)
				s.homes[at(name)] = "n1"
				s.book[name] = api.Conversation{Users: []string{"ada"}}
				s.rooms[name] = present("ada")
			}
			s.stuck, s.asked = true, 0
		})
		s.events <- store.Event{Kind: store.EventLagged}
		synctest.Wait()
		s.change(func() {
			if s.asking != roomsAtOnce || s.asked != roomsAtOnce {
				t.Errorf("it is asked %d questions at the same time, %d at most", s.asking, s.asked)
			}
			s.stuck = false
		})
		time.Sleep(time.Minute + lookAgain/lookParts/2) // between two turns
		s.change(func() {
			if s.asking != 0 {
				t.Errorf("%d questions are not given up", s.asking)
			}
			s.looked = nil
		})
		time.Sleep(lookAgain)
		s.change(func() {
			atOnce := make(map[time.Time]int)
			for _, when := range s.looked {
				atOnce[when]++
			}
			for _, n := range atOnce {
				if n > rooms/3 {
					t.Errorf("%d rooms took their turn together", n)
				}
			}
			if len(s.looked) < rooms {
				t.Errorf("%d of %d rooms had a turn", len(s.looked), rooms)
			}
		})
	})
}
