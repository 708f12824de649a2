package signaling

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// fit tells whether clients may be sent to the node.
func (n Node) fit() bool { return n.takes() && !n.busy() }

// busy tells whether others are to be preferred.
func (n Node) busy() bool { return n.Full || n.Crowded }

// takes tells whether the node is there for clients, though perhaps full just now.
func (n Node) takes() bool { return n.Alive && n.mayTake() }

// mayTake tells whether the node is for clients, as soon as it answers.
func (n Node) mayTake() bool { return (n.Alive || n.Suspect) && !n.Draining && n.URL != "" }

// Elsewhere is the node that clients of the room should go to: its home, if
// that is another node that takes traffic. While it is full or crowded they stay
// here, if others of the room are here, or go to another node of the room. If
// this node and those are crowded as well, nothing is won by tearing the room
// apart: they go to the home, unless it is full. From a node that is overloaded
// they go to any other, even if it is the home. It looks up and never places.
func (h *Hub) Elsewhere(room store.RoomID) (Node, bool) {
	home, ok := h.deps.Places.Lookup(room)
	nodes := h.deps.Nodes.Nodes()
	self, _ := named(nodes, h.deps.Self)
	if !ok || home.Node == h.deps.Self {
		if !self.Overloaded {
			return Node{}, false
		}
		return bestOf(room, nodes, func(n Node) bool { return n.fit() && n.ID != h.deps.Self })
	}
	to, ok := named(nodes, home.Node)
	switch {
	case !ok:
		return Node{}, false
	case to.fit():
		return to, true
	case !to.busy() || h.deps.EdgesOf == nil:
		return Node{}, false
	}
	edges := h.deps.EdgesOf(room)
	if !self.busy() && (h.replica(room) != nil || slices.Contains(edges, h.deps.Self)) {
		return Node{}, false
	}
	if n, ok := bestOf(room, nodes, func(n Node) bool { return n.fit() && slices.Contains(edges, n.ID) }); ok {
		return n, true
	}
	if self.busy() && to.takes() && !to.Full {
		return to, true
	}
	return Node{}, false
}

// named is the node of that id.
func named(nodes []Node, id store.NodeID) (Node, bool) {
	if i := slices.IndexFunc(nodes, func(n Node) bool { return n.ID == id }); i >= 0 {
		return nodes[i], true
	}
	return Node{}, false
}

// refuges are the nodes that people of this one may go to now: those that are fit,
// else those that are only busy. If there are none and this node stops, those that
// are full, as people who are cut
// off come to them anyway. There is hope as long as there may be some later.
func (h *Hub) refuges() (now []Node, hope bool) {
	var crowded, full []Node
	for _, n := range h.deps.Nodes.Nodes() {
		if n.ID == h.deps.Self || !n.mayTake() {
			continue
		}
		hope = true
		switch {
		case n.fit():
			now = append(now, n)
		case n.takes() && !n.Full:
			crowded = append(crowded, n)
		case n.takes():
			full = append(full, n)
		}
	}
	if len(now) == 0 {
		now = crowded
	}
	if len(now) == 0 && h.moves.stops() {
		now = full
	}
	return now, hope
}

// refuge is where sessions of a room go when they leave this node: to the home of
// the room, also if that is busier than others, for it was chosen just now; else to
// a node where others of the room are, else to any. While the home is to move they
// wait for that.
func (h *Hub) refuge(r *replica, reason string) (Node, bool) {
	home, placed := h.deps.Places.Lookup(r.id)
	if n, ok := named(h.deps.Nodes.Nodes(), home.Node); ok && placed && n.ID != h.deps.Self && n.takes() && !n.Full {
		return n, true
	}
	nodes, _ := h.refuges()
	if n, ok := bestOf(r.id, nodes, func(n Node) bool { return placed && n.ID == home.Node }); ok {
		return n, true
	}
	since, draining := h.moves.draining()
	if reason != wire.MoveDrain || !draining || placed && home.Node == h.deps.Self && time.Since(since) < homesFirst {
		return Node{}, false
	}
	edges := r.edges()
	if n, ok := bestOf(r.id, nodes, func(n Node) bool { return edges[n.ID] }); ok {
		return n, true
	}
	return bestOf(r.id, nodes, func(Node) bool { return true })
}

// bestOf is a node that is suitable. For one room it is always the same of the
// same, so that its people stay together.
func bestOf(room store.RoomID, nodes []Node, suitable func(Node) bool) (best Node, found bool) {
	var most uint64
	for _, n := range nodes {
		if !suitable(n) {
			continue
		}
		if w := weight(n.ID, room); !found || w > most {
			best, most, found = n, w, true
		}
	}
	return best, found
}

// weight is highest random weight hashing.
func weight(node store.NodeID, room store.RoomID) uint64 { return weightOf(node, room.String()) }

func weightOf(node store.NodeID, of string) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(string(node) + "\x00" + of)) // never fails
	// FNV alone leaves names that differ in one letter in the same order for nearly
	// all keys: the finalizer of MurmurHash3 mixes the bits.
	w := sum.Sum64()
	w = (w ^ w>>33) * 0xff51afd7ed558ccd
	w = (w ^ w>>33) * 0xc4ceb9fe1a85ec53
	return w ^ w>>33
}
