package store

import (
	"hash/maphash"
	"maps"
	"slices"
)

// shards is into how many parts the homes are cut. A snapshot shares all of
// them; the first change of one after that copies it, which is some dozen
// homes of hundreds of thousands.
const shards = 16384

// homes are the homes of all rooms, and which rooms each node has. Nobody
// waits for a copy: clone shares the shards until they change.
type homes struct {
	seed   maphash.Seed
	shards []shard
	shared uint64 // clones that were made
	count  int

	// rooms of each node; a clone is not asked and has none.
	perNode map[NodeID]map[RoomID]struct{}
	// backends are the backends' ids, each held once and not for every room.
	backends map[BackendID]BackendID
}

type shard struct {
	rooms map[RoomID]Home
	since uint64 // homes.shared at its last copy: lower than now, it is shared
}

func newHomes() *homes {
	return &homes{
		seed: maphash.MakeSeed(), shards: make([]shard, shards),
		perNode: map[NodeID]map[RoomID]struct{}{}, backends: map[BackendID]BackendID{},
	}
}

func (h *homes) shard(room RoomID) *shard { return &h.shards[maphash.Comparable(h.seed, room)%shards] }

func (h *homes) get(room RoomID) (Home, bool) {
	home, ok := h.shard(room).rooms[room]
	return home, ok
}

// own makes a shard one that may be changed.
func (h *homes) own(s *shard) {
	switch {
	case s.rooms == nil:
		s.rooms = map[RoomID]Home{}
	case s.since < h.shared:
		s.rooms = maps.Clone(s.rooms)
	}
	s.since = h.shared
}

// set writes or, with a zero home, deletes the home of a room.
func (h *homes) set(room RoomID, home Home) {
	s := h.shard(room)
	old, was := s.rooms[room]
	if was {
		h.unlist(old.Node, room)
	}
	if home.Epoch == 0 {
		if was {
			h.own(s)
			delete(s.rooms, room)
			h.count--
		}
		return
	}
	if !was {
		h.count++
	}
	if b, ok := h.backends[room.Backend]; ok {
		room.Backend = b
	} else {
		h.backends[room.Backend] = room.Backend
	}
	h.own(s)
	s.rooms[room] = home
	if h.perNode[home.Node] == nil {
		h.perNode[home.Node] = map[RoomID]struct{}{}
	}
	h.perNode[home.Node][room] = struct{}{}
}

func (h *homes) unlist(node NodeID, room RoomID) {
	if delete(h.perNode[node], room); len(h.perNode[node]) == 0 {
		delete(h.perNode, node)
	}
}

// of are the rooms of a node, in order.
func (h *homes) of(node NodeID) []RoomID {
	rooms := make([]RoomID, 0, len(h.perNode[node]))
	for r := range h.perNode[node] {
		rooms = append(rooms, r)
	}
	slices.SortFunc(rooms, compareRooms)
	return rooms
}

func (h *homes) counts() map[NodeID]int {
	counts := make(map[NodeID]int, len(h.perNode))
	for n, rooms := range h.perNode {
		counts[n] = len(rooms)
	}
	return counts
}

// all calls f for each room until it says no.
func (h *homes) all(f func(RoomID, Home) bool) {
	for _, s := range h.shards {
		for r, home := range s.rooms {
			if !f(r, home) {
				return
			}
		}
	}
}

// clone is for reading, also while this one changes.
func (h *homes) clone() *homes {
	h.shared++
	return &homes{seed: h.seed, shards: slices.Clone(h.shards), count: h.count}
}
