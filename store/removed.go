package store

import (
	"maps"
	"time"
)

// MaxCertificateLife is the longest that the certificate of a node is good. So
// long is it remembered who was removed.
const MaxCertificateLife = 30 * 24 * time.Hour

// MaxRemoved bounds how many removed nodes are remembered. Beyond it the
// certificates that end first are forgotten first.
const MaxRemoved = 4096

// Removed is a node that was removed and whose certificate may still be good.
// It is told by its key: the id may be in use again.
type Removed struct {
	Node  NodeID    `json:"node"`
	Key   string    `json:"key"`   // as in Node.Key
	Until time.Time `json:"until"` // by then no certificate of it is good
}

// remember notes that the key of a node is good for nothing any more.
func (m *memory) remember(n Node, at time.Time) {
	if n.Key == "" {
		return
	}
	maps.DeleteFunc(m.removed, func(_ string, r Removed) bool { return expired(r.Until, at) })
	for len(m.removed) >= MaxRemoved {
		var first Removed
		for _, r := range m.removed {
			if first.Key == "" || r.Until.Before(first.Until) || r.Until.Equal(first.Until) && r.Key < first.Key {
				first = r
			}
		}
		delete(m.removed, first.Key)
	}
	m.removed[n.Key] = Removed{Node: n.ID, Key: n.Key, Until: at.Add(MaxCertificateLife)}
}

// Banished tells whether whoever shows this id and this key (as in Node.Key)
// is no node of the cluster any more: it was removed, or another has its id
// now. Of whom nothing is known, nothing is said.
func (v *View) Banished(id NodeID, key string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if n, ok := v.mem.nodes[id]; ok && n.Key != "" {
		return n.Key != key
	}
	_, removed := v.mem.removed[key]
	return removed
}

// WasRemoved tells whether a node of this id was removed lately, and its id is
// not in use again.
func (v *View) WasRemoved(id NodeID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if _, ok := v.mem.nodes[id]; ok {
		return false
	}
	for _, r := range v.mem.removed {
		if r.Node == id {
			return true
		}
	}
	return false
}
