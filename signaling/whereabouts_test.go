package signaling

import (
	"context"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// checkWhereabouts compares the index with what the replicas have.
func checkWhereabouts(t *testing.T, h *Hub) {
	t.Helper()
	n := 0
	for _, r := range values(h.replicas) {
		r.mu.Lock()
		for id := range r.members {
			if n++; len(h.whereabouts.of(id)) == 0 {
				t.Errorf("%q is not found", id)
			}
		}
		r.mu.Unlock()
	}
	for _, rooms := range h.whereabouts.rooms {
		n -= len(rooms)
	}
	if n != 0 {
		t.Errorf("%d members too few in the index", n)
	}
}

// TestWhereabouts: a session is found in the room that it is in, whatever the others
// are busy with.
func TestWhereabouts(t *testing.T) {
	h := lonely(t)
	open := func(name string) *replica {
		r, err := h.openReplica(store.RoomID{Name: name}, store.Home{Node: "n2", Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := h.newSession("me", identity{}, 1)
		t.Cleanup(s.desk.Close)
		r.warm[s.id] = s // so that it stays
		return r
	}
	busy, a, b := open("busy"), open("a"), open("b")
	seq := make(map[*replica]uint64)
	tell := func(r *replica, f *signalpb.Frame) {
		t.Helper()
		seq[r]++
		f.Epoch, f.Seq = 1, seq[r]
		r.receive("n2", f)
		checkWhereabouts(t, h)
	}
	find := func(want *replica) {
		t.Helper()
		busy.mu.Lock()
		defer busy.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		found := make(chan *replica, 1)
		go func() {
			r, _ := h.whereabouts.find("alice")
			found <- r
		}()
		select {
		case r := <-found:
			if r != want {
				t.Errorf("found in %v", r)
			}
		case <-ctx.Done():
			t.Error("waits for a room that is not hers")
		}
	}
	alice := &signalpb.Member{Session: "alice", Edge: "n2", Incarnation: 1}
	bob := &signalpb.Member{Session: "bob", Edge: "n2", Incarnation: 1}
	for _, r := range []*replica{busy, a, b} {
		tell(r, &signalpb.Frame{Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: []*signalpb.Member{bob}}}})
	}
	find(nil)
	joined, left := &signalpb.Frame{Body: &signalpb.Frame_Joined{Joined: alice}}, &signalpb.Frame{Body: &signalpb.Frame_Left{Left: &signalpb.Left{Sessions: []string{"alice"}}}}
	tell(a, joined)
	find(a)
	tell(b, joined)
	tell(a, left) // which comes later here
	find(b)
	tell(b, &signalpb.Frame{Body: &signalpb.Frame_Snapshot{Snapshot: &signalpb.Snapshot{Members: []*signalpb.Member{bob}}}})
	find(nil)
	tell(a, joined)
	a.mu.Lock()
	clear(a.warm)
	a.dropIfEmptyLocked()
	a.mu.Unlock()
	checkWhereabouts(t, h)
	find(nil)
}
