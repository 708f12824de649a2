// Package store is the replicated state machine: what all server nodes of a
// cluster agree on. It imports nothing of ours, knows no Raft and opens no
// socket.
//
//	typed constructor -> Command -> Encode -> (log of cluster) -> Entry
//	                                                               |
//	                       ApplyBatch: decode, check, one goroutine at a time
//	                          |                                    |
//	    memory: identity, secrets, join tokens,    SQLite: accounts, logins,
//	    nodes, homes (one RWMutex)                 conversations, attendees, index
//	                          |                                    |
//	    Node, Home, Secrets, ...                   *DB (pool of readers)
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

// State is the replicated state of one node.
type State struct {
	db *DB

	// applying orders Apply, ApplyBatch, Capture, Restore and Close.
	applying sync.Mutex

	mu      sync.RWMutex // guards what follows
	mem     memory
	applied uint64 // index of the last entry applied since Open or Restore
}

// Open opens the state in dir, or makes a new one there. The memory is empty
// until a snapshot is restored or the log is applied again; of the latter the
// database leaves out what it holds already.
func Open(dir string) (*State, error) {
	db, err := openDB(dir)
	if err != nil {
		return nil, err
	}
	return &State{db: db, mem: newMemory()}, nil
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
func (s *State) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// Identity is the cluster's; false before cluster_init.
func (s *State) Identity() (Identity, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.identity.clone(), s.mem.identity.ClusterID != ""
}

// Node is the record of one node.
func (s *State) Node(id NodeID) (Node, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n, ok := s.mem.nodes[id]
	return n.clone(), ok
}

// Nodes are the records of all nodes, ordered by id.
func (s *State) Nodes() []Node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sortedNodes(s.mem.nodes)
}

// Draining says whether the cluster wants a node to be left.
func (s *State) Draining(id NodeID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mem.drains[id].On
}

// Drains are the nodes that are to be left.
func (s *State) Drains() map[NodeID]Drain {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.mem.drains)
}

// CommandVersionOfAll is the highest command version that this binary and all
// server nodes apply: a leader proposes nothing above it.
func (s *State) CommandVersionOfAll() uint16 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := CommandVersion
	for _, n := range s.mem.nodes {
		if n.Server() {
			v = min(v, n.Commands)
		}
	}
	return v
}

// Home is the home of a room; false when it has none.
func (s *State) Home(room RoomID) (Home, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.mem.homes[room]
	return h, ok
}

// Homes is a copy of all homes. With many rooms it is dear: HomeCounts and
// HomesOf often do.
func (s *State) Homes() map[RoomID]Home {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.mem.homes)
}

// HomeCounts is how many rooms each node is the home of, also nodes that are
// gone. Nodes without any are not in it.
func (s *State) HomeCounts() map[NodeID]int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.mem.perNode)
}

// HomesOf are the rooms that a node is the home of, in order.
func (s *State) HomesOf(node NodeID) []RoomID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rooms := make([]RoomID, 0, s.mem.perNode[node])
	for r, h := range s.mem.homes {
		if h.Node == node {
			rooms = append(rooms, r)
		}
	}
	slices.SortFunc(rooms, compareRooms)
	return rooms
}

// Rooms is how many rooms have a home.
func (s *State) Rooms() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.mem.homes)
}

// Secret is one key of a ring.
func (s *State) Secret(name string, id uint32) (Secret, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.mem.secrets[secretKey{name, id}]
	return k.clone(), ok
}

// Secrets are the keys of a ring, the one to seal with last.
func (s *State) Secrets(name string) []Secret {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ring []Secret
	for k, v := range s.mem.secrets {
		if k.name == name {
			ring = append(ring, v.clone())
		}
	}
	slices.SortFunc(ring, func(a, b Secret) int { return cmp.Compare(a.ID, b.ID) })
	return ring
}

// JoinToken is a token that was created and has not been forgotten since.
func (s *State) JoinToken(hash TokenHash) (JoinToken, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	t, ok := s.mem.tokens[hash]
	return t, ok
}
