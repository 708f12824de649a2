package signaling

import (
	"slices"
	"sync"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// whereabouts tells in which rooms a session is, of those that this node has
// replicas of: when a node dies all its clients ask that at once. Replicas keep it
// under their own locks; nothing is called under this one.
type whereabouts struct {
	mu    sync.Mutex
	rooms map[store.SessionID][]*replica // guarded by mu; one, but for moments
}

func newWhereabouts() *whereabouts {
	return &whereabouts{rooms: make(map[store.SessionID][]*replica)}
}

func (w *whereabouts) add(id store.SessionID, r *replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.rooms[id], r) {
		w.rooms[id] = append(w.rooms[id], r)
	}
}

func (w *whereabouts) remove(id store.SessionID, r *replica) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := slices.DeleteFunc(w.rooms[id], func(known *replica) bool { return known == r })
	if w.rooms[id] = left; len(left) == 0 {
		delete(w.rooms, id)
	}
}

func (w *whereabouts) of(id store.SessionID) []*replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rooms[id])
}

// find is the room that a session is in, as what member.
func (w *whereabouts) find(id store.SessionID) (in *replica, as *signalpb.Member) {
	for _, r := range w.of(id) {
		r.mu.Lock()
		m := r.members[id]
		r.mu.Unlock()
		if m != nil && (as == nil || outranks(m, as)) {
			in, as = r, m
		}
	}
	return in, as
}
