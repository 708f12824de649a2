package store

import (
	"cmp"
	"slices"
)

// image is the memory part of a snapshot, but for the homes. Everything is in order, so that
// equal states give equal bytes.
type image struct {
	Applied    uint64              `json:"applied"`
	Cluster    Cluster             `json:"cluster"`
	Keys       map[KeyKind]KeyRing `json:"keys"` // JSON orders them
	Nodes      []Node              `json:"nodes"`
	Drains     []drainImage        `json:"drains"`
	LastEpoch  uint64              `json:"last_epoch"`
	Secrets    []Secret            `json:"secrets"`
	JoinTokens []JoinToken         `json:"join_tokens"`
	Removed    []Removed           `json:"removed"`
	// Left out while there are none: an older node reads what it knows.
	Backends []Backend `json:"backends,omitempty"`
}

type drainImage struct {
	Node   NodeID `json:"n"`
	Reason string `json:"w,omitempty"`
}

func newImage(applied uint64, m memory) image {
	i := image{
		Applied: applied, Cluster: m.identity, Keys: m.keys, Nodes: sortedNodes(m.nodes), LastEpoch: m.lastEpoch,
	}
	for id, d := range m.drains {
		i.Drains = append(i.Drains, drainImage{Node: id, Reason: d.Reason})
	}
	slices.SortFunc(i.Drains, func(a, b drainImage) int { return cmp.Compare(a.Node, b.Node) })
	for _, s := range m.secrets {
		i.Secrets = append(i.Secrets, s)
	}
	slices.SortFunc(i.Secrets, func(a, b Secret) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	for _, t := range m.tokens {
		i.JoinTokens = append(i.JoinTokens, t)
	}
	slices.SortFunc(i.JoinTokens, func(a, b JoinToken) int { return slices.Compare(a.Hash[:], b.Hash[:]) })
	for _, r := range m.removed {
		i.Removed = append(i.Removed, r)
	}
	slices.SortFunc(i.Removed, func(a, b Removed) int { return cmp.Compare(a.Key, b.Key) })
	i.Backends = sortedBackends(m.backends)
	return i
}

// memory turns the image back; homes has the rest.
func (i image) memory(homes *homes) memory {
	m := newMemory()
	m.identity, m.lastEpoch, m.homes = i.Cluster, i.LastEpoch, homes
	for kind, ring := range i.Keys {
		m.keys[kind] = ring
	}
	for _, n := range i.Nodes {
		m.nodes[n.ID] = n
	}
	for _, d := range i.Drains {
		m.drains[d.Node] = Drain{On: true, Reason: d.Reason}
	}
	for _, s := range i.Secrets {
		m.secrets[secretKey{s.Name, s.ID}] = s
	}
	for _, t := range i.JoinTokens {
		m.tokens[t.Hash] = t
	}
	for _, r := range i.Removed {
		m.removed[r.Key] = r
	}
	for _, b := range i.Backends {
		m.backends[b.URL] = b
	}
	return m
}

// node is the id as the records hold it.
func (i image) node(id NodeID) NodeID {
	if at, ok := slices.BinarySearchFunc(i.Nodes, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) }); ok {
		return i.Nodes[at].ID
	}
	return id
}
