package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// memory is the part of the state that is never in SQLite. It is a plain
// value: State guards it.
type memory struct {
	identity  Cluster
	nodes     map[NodeID]Node
	drains    map[NodeID]Drain // those that are on
	homes     *homes
	lastEpoch uint64 // the highest epoch ever given
	secrets   map[secretKey]Secret
	keys      map[KeyKind]KeyRing
	tokens    map[TokenHash]JoinToken
	removed   map[string]Removed // by key
	backends  map[string]Backend // by URL
}

type secretKey struct {
	name string
	id   uint32
}

func newMemory() memory {
	return memory{
		nodes:    map[NodeID]Node{},
		drains:   map[NodeID]Drain{},
		homes:    newHomes(),
		secrets:  map[secretKey]Secret{},
		keys:     map[KeyKind]KeyRing{},
		tokens:   map[TokenHash]JoinToken{},
		removed:  map[string]Removed{},
		backends: map[string]Backend{},
	}
}

// clone is what a snapshot writes while commands go on being applied. The
// values in the maps are replaced, never changed in place.
func (m memory) clone() memory {
	m.nodes = maps.Clone(m.nodes)
	m.drains = maps.Clone(m.drains)
	m.homes = m.homes.clone()
	m.secrets = maps.Clone(m.secrets)
	m.keys = maps.Clone(m.keys)
	m.tokens = maps.Clone(m.tokens)
	m.removed = maps.Clone(m.removed)
	m.backends = maps.Clone(m.backends)
	return m
}

// memoryOperation changes the memory, or refuses and leaves it as it was.
type memoryOperation interface {
	operation
	applyMemory(m *memory, at time.Time) (Result, []Event, error)
}

func (o *clusterInit) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	if m.identity.ID != "" {
		return Result{}, nil, fmt.Errorf("%w: cluster identity", ErrExists)
	}
	secrets := maps.Clone(m.secrets)
	for _, s := range o.Secrets {
		s.Created = at
		if _, taken := secrets[secretKey{s.Name, s.ID}]; taken {
			return Result{}, nil, fmt.Errorf("%w: secret %s", ErrExists, s)
		}
		secrets[secretKey{s.Name, s.ID}] = s
	}
	if len(secrets) > MaxSecrets {
		return Result{}, nil, fmt.Errorf("%w: secrets", ErrLimit)
	}
	m.identity, m.secrets = Cluster{ID: o.Identity.ClusterID, Created: at}, secrets
	m.beginKeys(o.Identity, at)
	return Result{}, []Event{{Kind: EventClusterInit}}, nil
}

func (o *putNode) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	n := o.Node
	n.Joined = at
	if old, ok := m.nodes[n.ID]; ok {
		if old.Key != "" && old.Key != n.Key {
			return Result{}, nil, fmt.Errorf("%w: %s with another key", ErrExists, n.ID)
		}
		n.Joined = old.Joined
	}
	delete(m.removed, n.Key) // a token let it in again
	m.nodes[n.ID] = n
	return Result{}, []Event{{Kind: EventNodePut, Node: n.ID}}, nil
}

func (o *removeNode) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	n, ok := m.nodes[o.Node]
	if !ok {
		return Result{}, nil, fmt.Errorf("%w: %s", ErrNoSuchNode, o.Node)
	}
	delete(m.nodes, o.Node)
	m.remember(n, at)
	delete(m.drains, o.Node)
	// It does not come back by the token that let it in.
	for h, t := range m.tokens {
		if t.UsedBy.Node == o.Node {
			t.UsedBy.Key = ""
			m.tokens[h] = t
		}
	}
	return Result{}, []Event{{Kind: EventNodeRemoved, Node: o.Node}}, nil
}

func (o *setDrain) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	if _, ok := m.nodes[o.Node]; !ok {
		return Result{}, nil, fmt.Errorf("%w: %s", ErrNoSuchNode, o.Node)
	}
	var drain Drain
	if o.On {
		drain = Drain{On: true, Reason: o.Reason}
	}
	if m.drains[o.Node] == drain {
		return Result{}, nil, nil
	}
	if drain.On {
		m.drains[o.Node] = drain
	} else {
		delete(m.drains, o.Node)
	}
	return Result{}, []Event{{Kind: EventDrainChanged, Node: o.Node, Drain: drain}}, nil
}

func (o *assignHome) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	home, event, err := m.assign(Assignment(*o), at)
	if err != nil {
		return Result{}, nil, err
	}
	return Result{Home: home}, []Event{event}, nil
}

func (o *assignHomes) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	r := Result{Homes: make([]Assigned, len(o.Homes))}
	events := make([]Event, 0, len(o.Homes))
	for i, a := range o.Homes {
		home, event, err := m.assign(a, at)
		if r.Homes[i] = (Assigned{Home: home, Err: err}); err == nil {
			events = append(events, event)
		}
	}
	return r, events, nil
}

// assign makes one assignment, or refuses it.
func (m *memory) assign(a Assignment, at time.Time) (Home, Event, error) {
	previous, _ := m.homes.get(a.Room)
	if previous.Epoch != a.PrevEpoch {
		return Home{}, Event{}, fmt.Errorf("%w: room is at epoch %d", ErrStaleEpoch, previous.Epoch)
	}
	node, ok := m.nodes[a.Node]
	if !ok {
		return Home{}, Event{}, fmt.Errorf("%w: %s", ErrNoSuchNode, a.Node)
	}
	m.lastEpoch++
	// The texts are those of the record and of the constant: hundreds of
	// thousands of homes would each keep a copy.
	home := Home{Node: node.ID, Epoch: m.lastEpoch, Created: at, Reason: a.Reason.canonical()}
	if previous.Epoch != 0 {
		home.Created = previous.Created
	}
	m.homes.set(a.Room, home)
	return home, Event{Kind: EventHomeAssigned, Room: a.Room, Node: node.ID, Home: home, Previous: previous}, nil
}

func (o *releaseRoom) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	home, ok := m.homes.get(o.Room)
	if !ok {
		return Result{}, nil, fmt.Errorf("%w: room has no home", ErrNotFound)
	}
	if home.Epoch != o.Epoch {
		return Result{}, nil, fmt.Errorf("%w: room is at epoch %d", ErrStaleEpoch, home.Epoch)
	}
	m.homes.set(o.Room, Home{})
	return Result{}, []Event{{Kind: EventHomeReleased, Room: o.Room, Node: home.Node, Home: home}}, nil
}

func (o *putSecret) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	key := secretKey{o.Secret.Name, o.Secret.ID}
	if _, ok := m.secrets[key]; ok {
		return Result{}, nil, fmt.Errorf("%w: secret %s", ErrExists, o.Secret)
	}
	if len(m.secrets) >= MaxSecrets {
		return Result{}, nil, fmt.Errorf("%w: secrets", ErrLimit)
	}
	o.Secret.Created = at
	m.secrets[key] = o.Secret
	return Result{}, []Event{{Kind: EventSecretsChanged}}, nil
}

func (o *removeSecret) applyMemory(m *memory, _ time.Time) (Result, []Event, error) {
	key := secretKey{o.Name, o.ID}
	if _, ok := m.secrets[key]; !ok {
		return Result{}, nil, fmt.Errorf("%w: secret", ErrNotFound)
	}
	delete(m.secrets, key)
	return Result{}, []Event{{Kind: EventSecretsChanged}}, nil
}

func (o *createJoinToken) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	// A used token is kept until it expires, so that its second use is told
	// from an invention; after that there is no need for it.
	live := maps.Clone(m.tokens)
	maps.DeleteFunc(live, func(_ TokenHash, t JoinToken) bool { return expired(t.Expires, at) })
	if _, ok := live[o.Hash]; ok {
		return Result{}, nil, fmt.Errorf("%w: join token", ErrExists)
	}
	if len(live) >= MaxJoinTokens {
		return Result{}, nil, fmt.Errorf("%w: join tokens", ErrLimit)
	}
	m.tokens = live
	m.tokens[o.Hash] = JoinToken{Hash: o.Hash, Expires: storedTime(o.Expires)}
	return Result{}, nil, nil
}

func (o *useJoinToken) applyMemory(m *memory, at time.Time) (Result, []Event, error) {
	t, ok := m.tokens[o.Hash]
	switch {
	case !ok:
		return Result{}, nil, fmt.Errorf("%w: join token", ErrNotFound)
	case t.UsedBy != (Joiner{}) && t.UsedBy != o.Joiner:
		return Result{}, nil, ErrTokenUsed
	case expired(t.Expires, at):
		return Result{}, nil, ErrTokenExpired
	}
	t.UsedBy = o.Joiner
	m.tokens[o.Hash] = t
	return Result{}, nil, nil
}

// expired says whether what is valid until expires is so no more.
func expired(expires, at time.Time) bool { return !at.Before(expires) }

func compareRooms(a, b RoomID) int {
	return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Name, b.Name))
}

func sortedNodes(m map[NodeID]Node) []Node {
	nodes := make([]Node, 0, len(m))
	for _, n := range m {
		nodes = append(nodes, n.clone())
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}
