package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/talkd/talkd/store"
)

// Limits of lists.
const (
	maxNodes     = 1000
	defaultRooms = 100
	maxRooms     = 500
	maxSearch    = 256
)

func (a *Admin) cluster(r *http.Request) (any, error) { return a.clusterView(r.Context()), nil }

// clusterView is what the node tells, and what is to be made of it.
func (a *Admin) clusterView(ctx context.Context) ClusterView {
	v := a.deps.Cluster.Cluster(ctx)
	v.Warnings = orEmpty(warnings(v))
	v.NodesTotal = len(v.Nodes)
	v.Nodes = whole(v.Nodes[:min(len(v.Nodes), maxNodes)])
	return v
}

func (a *Admin) nodes(r *http.Request) (any, error) {
	limit, err := limitOf(r, maxNodes, maxNodes)
	if err != nil {
		return nil, err
	}
	nodes, after := a.deps.Cluster.Cluster(r.Context()).Nodes, r.URL.Query().Get("after")
	var list struct {
		Nodes []NodeView `json:"nodes"`
		Total int        `json:"total"`
		Next  string     `json:"next,omitempty"`
	}
	list.Total = len(nodes)
	// They are ordered by id.
	first := slices.IndexFunc(nodes, func(n NodeView) bool { return n.ID > after })
	if first < 0 {
		first = len(nodes)
	}
	nodes = nodes[first:]
	if len(nodes) > limit {
		nodes = nodes[:limit]
		list.Next = nodes[limit-1].ID
	}
	list.Nodes = whole(nodes)
	return list, nil
}

func (a *Admin) node(r *http.Request) (any, error) {
	id := r.PathValue("id")
	for _, n := range a.deps.Cluster.Cluster(r.Context()).Nodes {
		if n.ID == id {
			return whole([]NodeView{n})[0], nil
		}
	}
	return nil, store.ErrNoSuchNode
}

func (a *Admin) rooms(r *http.Request) (any, error) {
	limit, err := limitOf(r, defaultRooms, maxRooms)
	if err != nil {
		return nil, err
	}
	values := r.URL.Query()
	q := store.RoomsQuery{Limit: limit, Search: values.Get("q"), Home: store.NodeID(values.Get("home"))}
	if q.After, err = store.ParseRoomsCursor(values.Get("after")); err != nil {
		return nil, refuse(http.StatusBadRequest, "", "after: the next of the page before is wanted")
	}
	if len(q.Search) > maxSearch {
		return nil, refuse(http.StatusBadRequest, "", fmt.Sprintf("q: at most %d bytes", maxSearch))
	}
	switch values.Get("sort") {
	case "", "id":
	case "newest":
		q.Newest = true
	default:
		return nil, refuse(http.StatusBadRequest, "", "sort: id or newest")
	}
	page := a.deps.Rooms.Rooms(r.Context(), q)
	for i := range page.Rooms {
		page.Rooms[i] = complete(page.Rooms[i])
	}
	return struct {
		Rooms []RoomView `json:"rooms"`
		Total int        `json:"total"`
		Next  string     `json:"next,omitempty"`
	}{orEmpty(page.Rooms), page.Total, page.Next.String()}, nil
}

func (a *Admin) room(r *http.Request) (any, error) {
	id, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	v, ok := a.deps.Rooms.Room(r.Context(), id)
	if !ok {
		return nil, ErrNoRoom
	}
	return complete(v), nil
}

// limitOf is how much of a list is wanted.
func limitOf(r *http.Request, fallback, most int) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, refuse(http.StatusBadRequest, "", fmt.Sprintf("limit: a number from 1 to %d", most))
	}
	return n, nil
}

// complete makes lists of what is none.
func complete(r RoomView) RoomView {
	r.Edges, r.Relays, r.Created = orEmpty(r.Edges), orEmpty(r.Relays), r.Created.UTC()
	return r
}

func whole(nodes []NodeView) []NodeView {
	nodes = orEmpty(slices.Clone(nodes))
	for i := range nodes {
		nodes[i].Roles = orEmpty(nodes[i].Roles)
	}
	return nodes
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
