package signaling

import (
	"context"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// announce tells everybody in the room what one of our sessions publishes: our
// own at once, the others by way of the home. While there is none they are told
// directly, and the next one when it comes.
func (r *replica) announce(pub media.Publication) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	if r.closed || r.local[pub.ID.Session] == nil {
		r.mu.Unlock()
		return
	}
	after := r.registerLocked(pub)
	r.announceLocked(pub)
	r.newsLocked()
	r.mu.Unlock()
	after.run()
}

// withdraw tells that one of our sessions publishes something no more.
func (r *replica) withdraw(id media.PubID) {
	r.order.Lock()
	defer r.order.Unlock()
	r.mu.Lock()
	after, known := r.unregisterLocked(id)
	if known && (!r.attached || !r.toHomeLocked(&signalpb.Frame{Body: &signalpb.Frame_Withdraw{Withdraw: pubIDFrame(id)}})) {
		r.toEdgesLocked(&signalpb.Frame{Body: &signalpb.Frame_Withdrawn{Withdrawn: pubIDFrame(id)}})
	}
	r.newsLocked()
	r.mu.Unlock()
	after.run()
}

func (r *replica) publishedLocked(raw []byte) effects {
	pub, err := decodePublication(raw)
	if err != nil {
		return nil
	}
	if pub.Edge == r.hub.deps.Self {
		r.confirmPubLocked(pub.ID) // of ours we know better
		return nil
	}
	return r.registerLocked(pub)
}

// confirmPubLocked tells that the home knows what a session of ours publishes.
func (r *replica) confirmPubLocked(id media.PubID) {
	if k := (pubKey{id.Session, id.Kind}); r.pubs[k].ID == id {
		delete(r.claims.pubs, k)
	}
}

// oursLocked tells whether a session of ours publishes this: one that has gone to
// another edge does so no more.
func (r *replica) oursLocked(pub media.Publication) bool {
	return pub.Edge == r.hub.deps.Self && r.local[pub.ID.Session] != nil
}

func (r *replica) withdrawnLocked(id media.PubID) effects {
	if r.oursLocked(r.pubs[pubKey{id.Session, id.Kind}]) {
		return nil
	}
	after, _ := r.unregisterLocked(id)
	return after
}

func (r *replica) registerLocked(pub media.Publication) effects {
	k := pubKey{pub.ID.Session, pub.ID.Kind}
	if old, ok := r.pubs[k]; ok && !newer(pub.ID, old.ID) {
		return nil
	}
	r.pubs[k] = pub
	return r.desksLocked(pub.ID.Session, func(s *Session) { s.desk.Announced(pub) })
}

// unregisterLocked is false if the publication is not the one that is known.
func (r *replica) unregisterLocked(id media.PubID) (effects, bool) {
	k := pubKey{id.Session, id.Kind}
	if pub, ok := r.pubs[k]; !ok || pub.ID != id {
		return nil, false
	}
	delete(r.pubs, k)
	delete(r.claims.pubs, k)
	return r.desksLocked(id.Session, func(s *Session) { s.desk.Withdrawn(id) }), true
}

// await waits until the publisher publishes, as long as the two are in the
// call. That they are may be heard here a moment later than by the client that
// asks: it may have been told by another node.
func (r *replica) await(ctx context.Context, listener, publisher store.SessionID, kind string) (media.Publication, error) {
	patience := time.NewTimer(pullPatience)
	defer patience.Stop()
	for met := false; ; {
		r.mu.Lock()
		a, b := r.members[listener], r.members[publisher]
		here := a != nil && b != nil && !r.closed
		together := a.GetInCall()&inCallFlag != 0 && b.GetInCall()&inCallFlag != 0
		pub, there := r.pubs[pubKey{publisher, kind}]
		news := r.news
		r.mu.Unlock()
		switch {
		case !here, met && !together:
			return media.Publication{}, wire.ErrNotAllowed
		case together && there:
			return pub, nil
		}
		met = together
		var late <-chan time.Time
		if !met {
			late = patience.C
		}
		select {
		case <-news:
		case <-late:
			return media.Publication{}, wire.ErrNotAllowed
		case <-ctx.Done():
			return media.Publication{}, ctx.Err()
		}
	}
}

// pullPatience is how long this edge may know less than whoever asks.
const pullPatience = 2 * time.Second

// AuthorizePull tells whether a node may have what a session here publishes:
// whether it has a session in the same room, and both are in the call. It waits
// a moment, as the other edge may have heard of that first.
func (h *Hub) AuthorizePull(ctx context.Context, peer store.NodeID, id media.PubID) error {
	s := h.session(id.Session)
	if s == nil {
		return ErrNotListening
	}
	seat := s.currentSeat()
	if seat == nil {
		return ErrNotListening
	}
	ctx, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	for {
		listening, news := seat.replica.listens(peer, id.Session)
		if listening {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ErrNotListening
		}
	}
}

func (r *replica) listens(peer store.NodeID, publisher store.SessionID) (bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members[publisher].GetInCall()&inCallFlag != 0 {
		for id, m := range r.members {
			if m.GetEdge() == string(peer) && m.GetInCall()&inCallFlag != 0 && id != publisher {
				return true, nil
			}
		}
		for id, l := range r.lent {
			if l.to == peer && time.Now().Before(l.until) && r.members[id].GetInCall()&inCallFlag != 0 && id != publisher {
				return true, nil
			}
		}
	}
	return false, r.news
}
