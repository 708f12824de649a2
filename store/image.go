package store

import (
	"cmp"
	"fmt"
	"slices"
)

// image is the memory part of a snapshot. Everything is in order, so that
// equal states give equal bytes.
type image struct {
	Applied    uint64       `json:"applied"`
	Identity   Identity     `json:"identity"`
	Nodes      []Node       `json:"nodes"`
	Drains     []drainImage `json:"drains"`
	LastEpoch  uint64       `json:"last_epoch"`
	Secrets    []Secret     `json:"secrets"`
	JoinTokens []JoinToken  `json:"join_tokens"`
	Removed    []Removed    `json:"removed"`
	Homes      []homeImage  `json:"homes"`
}

type drainImage struct {
	Node   NodeID `json:"n"`
	Reason string `json:"w,omitempty"`
}

// homeImage is short: there are as many as rooms.
type homeImage struct {
	Backend BackendID `json:"b,omitempty"`
	Name    string    `json:"r"`
	Node    NodeID    `json:"n"`
	Epoch   uint64    `json:"e"`
	Created int64     `json:"c"` // Unix milliseconds
	Reason  Reason    `json:"w"`
}

func newImage(applied uint64, m memory) image {
	i := image{
		Applied: applied, Identity: m.identity, Nodes: sortedNodes(m.nodes), LastEpoch: m.lastEpoch,
		Homes: make([]homeImage, 0, len(m.homes)),
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
	for r, h := range m.homes {
		i.Homes = append(i.Homes, homeImage{Backend: r.Backend, Name: r.Name, Node: h.Node, Epoch: h.Epoch, Created: h.Created.UnixMilli(), Reason: h.Reason})
	}
	slices.SortFunc(i.Homes, func(a, b homeImage) int {
		return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Name, b.Name))
	})
	return i
}

// memory turns the image back. The checksum says that the bytes are those
// that were written; what is checked here would break the epochs' promise.
func (i image) memory() (memory, error) {
	m := newMemory()
	m.identity, m.lastEpoch = i.Identity, i.LastEpoch
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
	for _, h := range i.Homes {
		if h.Epoch == 0 || h.Epoch > i.LastEpoch {
			return memory{}, fmt.Errorf("%w: a room at epoch %d of %d", ErrBadSnapshot, h.Epoch, i.LastEpoch)
		}
		m.setHome(RoomID{h.Backend, h.Name}, Home{Node: h.Node, Epoch: h.Epoch, Created: readTime(h.Created), Reason: h.Reason})
	}
	return m, nil
}
