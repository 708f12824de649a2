package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/talkd/talkd/store"
)

// Operations change the cluster. Each returns when the cluster has taken the
// order, with the id that the events of what follows carry. ErrRefused and its
// text say what stands in the way; store.ErrNoSuchNode and ErrNoRoom are for
// what is not there, ErrUnavailable for a cluster that cannot decide.
type Operations interface {
	Drain(ctx context.Context, node store.NodeID, on bool) (op string, err error)
	Remove(ctx context.Context, node store.NodeID) (op string, err error)
	Move(ctx context.Context, room store.RoomID, to store.NodeID) (op string, err error)
	Rotate(ctx context.Context, key store.KeyKind) (op string, err error)
}

// ordered is the answer to an operation: the id by which to follow it.
type ordered struct {
	Event string `json:"event"`
}

func (a *Admin) drain(r *http.Request) (any, error)   { return a.setDrain(r, true) }
func (a *Admin) undrain(r *http.Request) (any, error) { return a.setDrain(r, false) }

func (a *Admin) setDrain(r *http.Request, on bool) (any, error) {
	node, err := nodeOf(r)
	if err != nil {
		return nil, err
	}
	op, err := a.deps.Operations.Drain(r.Context(), node, on)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "drain ordered", "peer", node, "on", on, "op", op)
	return ordered{op}, nil
}

func (a *Admin) removeNode(r *http.Request) (any, error) {
	node, err := nodeOf(r)
	if err != nil {
		return nil, err
	}
	op, err := a.deps.Operations.Remove(r.Context(), node)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "removal ordered", "peer", node, "op", op)
	return ordered{op}, nil
}

// nodeOf is the node that a path names, of a request without a body.
func nodeOf(r *http.Request) (store.NodeID, error) {
	if err := readAdmin(r, &struct{}{}); err != nil {
		return "", err
	}
	node, err := store.ParseNodeID(r.PathValue("id"))
	if err != nil {
		return "", store.ErrNoSuchNode
	}
	return node, nil
}

func (a *Admin) moveRoom(r *http.Request) (any, error) {
	var body struct {
		Node string `json:"node"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	room, err := roomOf(r)
	if err != nil {
		return nil, err
	}
	if body.Node == "" {
		return nil, refuse(http.StatusBadRequest, "", `the node to move to is wanted: {"node":"n2"}`)
	}
	to, err := store.ParseNodeID(body.Node)
	if err != nil {
		return nil, store.ErrNoSuchNode
	}
	op, err := a.deps.Operations.Move(r.Context(), room, to)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "move ordered", "room", room.String(), "peer", to, "op", op)
	return ordered{op}, nil
}

func roomOf(r *http.Request) (store.RoomID, error) {
	room, err := store.ParseRoomID(r.PathValue("id"))
	if err != nil {
		return room, refuse(http.StatusBadRequest, "", "a room is named ROOM, or BACKEND~ROOM if it is not of the embedded backend")
	}
	return room, nil
}

func (a *Admin) rotateKey(r *http.Request) (any, error) {
	if err := readAdmin(r, &struct{}{}); err != nil {
		return nil, err
	}
	key := store.KeyKind(r.PathValue("key"))
	if !slices.Contains(store.KeyKinds(), key) {
		return nil, refuse(http.StatusNotFound, "", fmt.Sprintf("there are the keys %s and %s", store.KeyGossip, store.KeyCA))
	}
	op, err := a.deps.Operations.Rotate(r.Context(), key)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "key rotation ordered", "key", key, "op", op)
	return ordered{op}, nil
}
