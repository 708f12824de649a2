package signaling

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// fit tells whether clients may be sent to the node.
func (n Node) fit() bool { return n.Alive && !n.Draining && !n.Full && n.URL != "" }

// Elsewhere is the node that clients of the room should go to: its home, if
// that is another node that takes traffic. If it is full, another node of the
// room is as good, unless this is one. It looks up and never places.
func (h *Hub) Elsewhere(room store.RoomID) (Node, bool) {
	home, ok := h.deps.Places.Lookup(room)
	if !ok || home.Node == h.deps.Self {
		return Node{}, false
	}
	nodes := h.deps.Nodes.Nodes()
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.ID == home.Node })
	switch {
	case i < 0:
		return Node{}, false
	case nodes[i].fit():
		return nodes[i], true
	case !nodes[i].Full || h.replica(room) != nil || h.deps.EdgesOf == nil:
		return Node{}, false
	}
	edges := h.deps.EdgesOf(room)
	if slices.Contains(edges, h.deps.Self) {
		return Node{}, false
	}
	return h.bestOf(room, nodes, func(n Node) bool { return slices.Contains(edges, n.ID) })
}

// refuge is where sessions of a room go when they leave this node: to the home of
// the room, else to a node where others of the room are, else to any. While the
// home is to move they wait for that.
func (h *Hub) refuge(r *replica, reason string) (Node, bool) {
	home, placed := h.deps.Places.Lookup(r.id)
	nodes := h.deps.Nodes.Nodes()
	if n, ok := h.bestOf(r.id, nodes, func(n Node) bool { return placed && n.ID == home.Node }); ok {
		return n, true
	}
	since, draining := h.moves.draining()
	if reason != wire.MoveDrain || !draining || placed && home.Node == h.deps.Self && time.Since(since) < homesFirst {
		return Node{}, false
	}
	edges := r.edges()
	if n, ok := h.bestOf(r.id, nodes, func(n Node) bool { return edges[n.ID] }); ok {
		return n, true
	}
	return h.bestOf(r.id, nodes, func(Node) bool { return true })
}

// bestOf is a node other than this one that takes traffic and is suitable. For
// one room it is always the same of the same, so that its people stay together.
func (h *Hub) bestOf(room store.RoomID, nodes []Node, suitable func(Node) bool) (best Node, found bool) {
	var most uint64
	for _, n := range nodes {
		if n.ID == h.deps.Self || !n.fit() || !suitable(n) {
			continue
		}
		if w := weight(n.ID, room); !found || w > most {
			best, most, found = n, w, true
		}
	}
	return best, found
}

// weight is highest random weight hashing.
func weight(node store.NodeID, room store.RoomID) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(string(node) + "\x00" + room.String())) // never fails
	return sum.Sum64()
}
