// Package store is the replicated state machine: what all server nodes of a
// cluster agree on. It imports nothing of ours, knows no Raft and opens no
// socket.
//
//	typed constructor -> Command -> Encode -> (log of cluster) -> Entry
//	                                                               |
//	                       ApplyBatch: decode, check, one goroutine at a time
//	                          |                                    |
//	    View, in memory: identity, secrets,        SQLite: accounts, logins,
//	    join tokens, nodes, homes                  conversations, attendees, index
//	                          |                                    |
//	    Node, Home, Secrets, ...                   *DB (pool of readers)
//	                          |
//	    Applied.Change ---> another node's View.Follow, which has no database
//
// The package starts no goroutine. Apply, ApplyBatch, Capture and Restore are
// called by the goroutine of the state machine (hashicorp/raft has one), the
// reading methods and Snapshot.Persist by any.
package store

import (
	"cmp"
	"maps"
	"slices"
	"sync"
)

// State is the replicated state of one server node.
type State struct {
	View
	db *DB

	// applying orders Apply, ApplyBatch, Capture, Restore and Close.
	applying sync.Mutex
}

// Open opens the state in dir, or makes a new one there. The memory is empty
// until a snapshot is restored or the log is applied again; of the latter the
// database leaves out what it holds already.
func Open(dir string) (*State, error) {
	db, err := openDB(dir)
	if err != nil {
		return nil, err
	}
	return &State{View: View{mem: newMemory()}, db: db}, nil
}

// Close closes the database. Reads fail from then on, unfinished snapshots
// are released.
func (s *State) Close() error {
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.db.close()
}

// DB is the part of the state that is in SQLite, for reading.
func (s *State) DB() *DB { return s.db }

// Applied is the index of the last entry that was applied since the start.
func (v *View) Applied() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.applied
}

// Cluster is which cluster this is; false before cluster_init.
func (v *View) Cluster() (Cluster, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.identity, v.mem.identity.ID != ""
}

// Node is the record of one node.
func (v *View) Node(id NodeID) (Node, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	n, ok := v.mem.nodes[id]
	return n.clone(), ok
}

// Nodes are the records of all nodes, ordered by id.
func (v *View) Nodes() []Node {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return sortedNodes(v.mem.nodes)
}

// Draining says whether the cluster wants a node to be left.
func (v *View) Draining(id NodeID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.drains[id].On
}

// Drains are the nodes that are to be left.
func (v *View) Drains() map[NodeID]Drain {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return maps.Clone(v.mem.drains)
}

// CommandVersionOfAll is the highest command version that this binary and all
// nodes apply: a leader proposes nothing above it.
func (v *View) CommandVersionOfAll() uint16 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := CommandVersion
	for _, n := range v.mem.nodes {
		all = min(all, n.Commands)
	}
	return all
}

// Home is the home of a room; false when it has none.
func (v *View) Home(room RoomID) (Home, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.homes.get(room)
}

// LastEpoch is the highest epoch that was ever given to a home.
func (v *View) LastEpoch() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.lastEpoch
}

// Homes is a copy of all homes. With many rooms it is dear: HomeCounts and
// HomesOf often do.
func (v *View) Homes() map[RoomID]Home {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make(map[RoomID]Home, v.mem.homes.count)
	v.mem.homes.all(func(r RoomID, h Home) bool {
		all[r] = h
		return true
	})
	return all
}

// HomeCounts is how many rooms each node is the home of, also nodes that are
// gone. Nodes without any are not in it.
func (v *View) HomeCounts() map[NodeID]int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.homes.counts()
}

// HomesOf are the rooms that a node is the home of, in order.
func (v *View) HomesOf(node NodeID) []RoomID {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.homes.of(node)
}

// Rooms is how many rooms have a home.
func (v *View) Rooms() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mem.homes.count
}

// Secret is one key of a ring.
func (v *View) Secret(name string, id uint32) (Secret, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	k, ok := v.mem.secrets[secretKey{name, id}]
	return k.clone(), ok
}

// Secrets are the keys of a ring, the one to seal with last.
func (v *View) Secrets(name string) []Secret {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var ring []Secret
	for k, v := range v.mem.secrets {
		if k.name == name {
			ring = append(ring, v.clone())
		}
	}
	slices.SortFunc(ring, func(a, b Secret) int { return cmp.Compare(a.ID, b.ID) })
	return ring
}

// JoinToken is a token that was created and has not been forgotten since.
func (v *View) JoinToken(hash TokenHash) (JoinToken, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t, ok := v.mem.tokens[hash]
	return t, ok
}
