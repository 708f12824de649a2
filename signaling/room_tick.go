package signaling

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// acts tells whether this node may speak for the room now.
func (r *room) acts() bool { return r.hub.deps.Places.Acts(r.id, r.home.Epoch) }

// tick looks at the deadlines of the room.
func (r *room) tick() {
	_ = r.inbox.post(r.deadlines) // full: the next tick comes soon
}

func (r *room) deadlines() {
	if !r.acts() || r.deposed > r.home.Epoch {
		return // detached, or not the home: nobody joins, nobody leaves
	}
	now := time.Now()
	waiting := r.leaving
	r.leaving = nil
	for _, l := range waiting {
		r.leave(l.edge, l.session)
	}
	r.giveUpEdges(now)
	r.giveUpOrphans(now)
	r.dropOldPublications(now)
	r.dropExpired(now)
	if now.Sub(r.began) > 2*r.hub.cfg.ResumeTimeout {
		clear(r.gone) // known members are not taken any more
		r.data.settle()
	}
	r.ping(now)
	if len(r.members) == 0 && len(r.edges) == 0 && !r.releasing && !r.empty.IsZero() && now.Sub(r.empty) > r.hub.cfg.RoomLinger {
		r.release()
	}
}

// giveUpEdges lets those leave whose edge did not come back, as if each had
// lost its own connection for so long.
func (r *room) giveUpEdges(now time.Time) {
	count := make(map[store.NodeID]int, len(r.edges))
	for _, m := range r.members {
		count[store.NodeID(m.GetEdge())]++
	}
	for id, e := range r.edges {
		e.told = slices.DeleteFunc(e.told, func(t told) bool { return now.Sub(t.at) > oldTold })
		late := !e.attached && !e.lost.IsZero() && now.Sub(e.lost) > r.hub.cfg.ResumeTimeout
		if count[id] == 0 && e.watching() {
			continue
		}
		if count[id] == 0 {
			// Nothing holds an edge that nobody is at; if it is attached, it has
			// forgotten the room by now.
			delete(r.edges, id)
			continue
		}
		if !late {
			continue
		}
		var left []store.SessionID
		for sid, m := range r.members {
			if m.GetEdge() == string(id) {
				left = append(left, sid)
			}
		}
		r.hub.log.Info("edge of a room given up", keyRoom, r.id.String(), keyEpoch, r.home.Epoch, keyNode, string(id), "sessions", len(left))
		r.remove(left, true)
	}
}

// watching tells whether the edge is kept though nobody is there.
func (e *edge) watching() bool { return time.Since(e.watches) < lendFor }

// giveUpOrphans lets those leave whose edge began anew, and who did not come back.
func (r *room) giveUpOrphans(now time.Time) {
	var left []store.SessionID
	for id, since := range r.orphans {
		if now.Sub(since) > r.hub.cfg.ResumeTimeout {
			left = append(left, id)
		}
	}
	r.remove(left, true)
}

// ping tells a Nextcloud who is still there.
func (r *room) ping(now time.Time) {
	if r.id.Backend == store.Embedded || r.hub.deps.Backends == nil || r.pinging || now.Sub(r.pinged) < r.hub.cfg.BackendPing {
		return
	}
	r.pinged = now
	entries := make(map[string][]backend.PingEntry) // by the URL that they came by
	for _, m := range r.members {
		if m.GetRoomSession() != "" {
			entries[m.GetVia()] = append(entries[m.GetVia()], backend.PingEntry{UserID: m.GetUserId(), SessionID: wire.RoomSessionID(m.GetRoomSession())})
		}
	}
	if len(entries) > 0 {
		r.pinging = r.hub.callback(r.id.Backend, func(ctx context.Context) error {
			var err error
			for via, some := range entries {
				err = errors.Join(err, r.hub.deps.Backends.Ping(ctx, r.id, via, some))
			}
			_ = r.inbox.post(func() { r.pinging = false }) // closed: there is no next one
			return err
		})
	}
}

// releaseTimeout bounds the decision to give a home back.
const releaseTimeout = 5 * time.Second

// release gives the home of the empty room back. Until the cluster has decided
// nobody gets in; who wants to tries again then.
func (r *room) release() {
	r.releasing = true
	r.hub.background(func() {
		ctx, cancel := context.WithTimeout(r.hub.ctx, releaseTimeout)
		defer cancel()
		err := r.hub.deps.Places.Release(ctx, r.id, r.home.Epoch)
		if err == nil || errors.Is(err, store.ErrStaleEpoch) || errors.Is(err, store.ErrNotFound) {
			r.close()
			return
		}
		r.hub.log.Info("room not released", keyRoom, r.id.String(), keyEpoch, r.home.Epoch, keyError, err)
		_ = r.inbox.post(func() {
			r.releasing = false
			r.empty = time.Now()
		})
	})
}
