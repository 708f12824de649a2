package signaling

import (
	"context"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	// lendFor is how long a node may have the media of a room for a session that
	// is about to go there, and how long a room keeps an edge for it.
	lendFor = moveTime + 5*time.Second
	// hushFor is how long the home may take to tell that a session has moved.
	hushFor = 2 * time.Second
)

// lent is where a session of another edge is about to go.
type lent struct {
	to    store.NodeID
	until time.Time
}

// watch makes a session that warms up here follow the room with its media. It is
// false if the replica is gone; there is another one then.
func (r *replica) watch(s *Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.warm[s.id] = s
	switch {
	case r.attached:
		r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Watch{Watch: &signalpb.Watch{}}})
	case r.attaching.IsZero() && !time.Now().Before(r.again):
		r.attachLocked()
	}
	return true
}

// awaitMember waits until the session is among the members that the home knows.
func (r *replica) awaitMember(ctx context.Context, id store.SessionID) error {
	for {
		r.mu.Lock()
		there, closed, news := r.attached && r.members[id] != nil, r.closed, r.news
		r.mu.Unlock()
		switch {
		case there:
			return nil
		case closed:
			return ErrNotHome
		}
		select {
		case <-news:
		case <-ctx.Done():
			return detached()
		}
	}
}

// moveIn is takeOver for a session that has warmed up here. While there is a home,
// what is said to all in the room is heard by its old socket until the home tells
// that it has moved, and by the new one after that: by one of them, and once.
func (r *replica) moveIn(s *Session, st *seat, pubs []media.Publication, first wire.ServerMessage) bool {
	r.mu.Lock()
	if r.attached {
		r.hushed[s.id] = time.Now()
	}
	r.mu.Unlock()
	ok := r.takeOver(s, st, pubs, first)
	r.mu.Lock()
	defer r.mu.Unlock()
	if delete(r.warm, s.id); !ok {
		delete(r.hushed, s.id)
		r.dropIfEmptyLocked()
	}
	return ok
}

// hearsLocked tells whether a session of ours hears here what is said to all.
func (r *replica) hearsLocked(id store.SessionID, s *Session) bool {
	if s.as != nil {
		return false // its owner does
	}
	since, hushed := r.hushed[id]
	return !hushed || !r.attached || time.Since(since) > hushFor
}

// hereLocked is the session of ours, or that warms up here.
func (r *replica) hereLocked(id store.SessionID) *Session {
	if s := r.local[id]; s != nil {
		return s
	}
	return r.warm[id]
}

// coolLocked ends sessions that warm up here and have left the room.
func (r *replica) coolLocked(left []store.SessionID) (after effects) {
	for _, id := range left {
		if s := r.warm[id]; s != nil {
			delete(r.warm, id)
			after = append(after, func() { s.end("") })
		}
	}
	r.dropIfEmptyLocked()
	return after
}

// lend lets a node have the media of the room for a session of ours that is about
// to go there. The other edges are told, as each answers for its own publishers.
func (r *replica) lend(id store.SessionID, to store.NodeID) store.Home {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lentLocked(id, to)
	r.toEdgesLocked(&signalpb.Frame{Body: &signalpb.Frame_Warming{Warming: &signalpb.Warming{Session: string(id), Node: string(to)}}})
	return r.home
}

func (r *replica) lentLocked(id store.SessionID, to store.NodeID) {
	now := time.Now()
	for other, l := range r.lent {
		if now.After(l.until) {
			delete(r.lent, other)
		}
	}
	r.lent[id] = lent{to: to, until: now.Add(lendFor)}
	r.newsLocked()
}

// edges are the nodes that have members of the room.
func (r *replica) edges() map[store.NodeID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.edgesLocked()
}
