package signaling

import (
	"github.com/talkd/talkd/store"
)

// placed follows one decision of the cluster.
func (h *Hub) placed(e store.Event) {
	switch e.Kind {
	case store.EventHomeAssigned:
		h.homeIs(e.Room, e.Home, true)
		if e.Previous.Node == h.deps.Self && e.Home.Node != h.deps.Self {
			h.followHome(e.Room, e.Home.Reason)
		}
	case store.EventDrainChanged:
		h.drainIfTold()
	case store.EventHomeReleased:
		h.homeIs(e.Room, e.Home, false)
	case store.EventLagged, store.EventRestored:
		h.placesChanged()
	}
}

// placesChanged reads the homes of all rooms that matter here.
func (h *Hub) placesChanged() {
	var homes []store.RoomID
	if h.deps.HomesOf != nil {
		homes = h.deps.HomesOf()
	}
	h.mu.Lock()
	ids := make(map[store.RoomID]struct{}, len(h.rooms)+len(h.replicas))
	for id := range h.rooms {
		ids[id] = struct{}{}
	}
	for id := range h.replicas {
		ids[id] = struct{}{}
	}
	h.mu.Unlock()
	for _, id := range homes {
		ids[id] = struct{}{}
	}
	for id := range ids {
		home, ok := h.deps.Places.Lookup(id)
		h.homeIs(id, home, ok)
	}
}

// homeIs tells those concerned who the home of a room is; placed is false if
// there is none any more, home then is the last one.
func (h *Hub) homeIs(id store.RoomID, home store.Home, placed bool) {
	if r := h.room(id); r != nil && (!placed && r.home.Epoch <= home.Epoch || placed && r.home.Epoch < home.Epoch) {
		r.close()
	}
	if r := h.replica(id); r != nil {
		r.follow(home, placed)
	}
	if placed && home.Node == h.deps.Self {
		// Also if nobody comes after all: somebody has to give the home back.
		_, _ = h.homeRoom(id, home.Epoch)
	}
}

// homeRoom is the room whose home this node is under that epoch. It begins with
// the first frame about it.
func (h *Hub) homeRoom(id store.RoomID, epoch uint64) (*room, error) {
	if r := h.room(id); r != nil && r.home.Epoch >= epoch {
		if r.home.Epoch > epoch {
			return nil, errStale
		}
		return r, nil
	}
	home, ok := h.deps.Places.Lookup(id)
	switch {
	case !ok || home.Node != h.deps.Self || home.Epoch < epoch:
		return nil, ErrNotHome // perhaps this node has not heard yet
	case home.Epoch > epoch:
		return nil, errStale
	}
	h.mu.Lock()
	old := h.rooms[id]
	if h.closed || old != nil && old.home.Epoch >= home.Epoch {
		h.mu.Unlock()
		return nil, ErrNotHome // the next attempt sees the other one
	}
	r := newRoom(h, id, home)
	h.rooms[id] = r
	h.tasks++
	n := len(h.rooms)
	h.mu.Unlock()
	h.metrics.rooms.Set(float64(n))
	if old != nil {
		old.close()
	}
	go func() {
		defer h.end()
		r.run()
	}()
	return r, nil
}

// forget takes a room whose actor ends out of the index.
func (h *Hub) forget(r *room) {
	h.mu.Lock()
	if h.rooms[r.id] == r {
		delete(h.rooms, r.id)
	}
	n := len(h.rooms)
	h.mu.Unlock()
	h.metrics.rooms.Set(float64(n))
}
