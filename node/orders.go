package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/store"
)

// How an operation is followed.
const (
	// opLook is how often the progress of an operation is looked at.
	opLook = time.Second
	// opStill is how long nothing may change until what is left is taken to
	// stay: longer than a client may take to move, with the time until it is seen
	// here.
	opStill = signaling.MoveTime + 5*time.Second
	// rotateTimeout is until a rotation is given up; it may be ordered again.
	rotateTimeout = 5 * time.Minute
)

// Drain has rooms and people leave a node, or takes that back.
func (o *operations) Drain(ctx context.Context, node store.NodeID, on bool) (string, error) {
	if _, ok := o.member(node); !ok {
		return "", store.ErrNoSuchNode
	}
	first := api.AdminEvent{Kind: "undrain", Node: string(node), Detail: fmt.Sprintf("%s is to take rooms again", node)}
	if on {
		first.Kind, first.Detail = "drain", fmt.Sprintf("rooms and people are to leave %s", node)
		if !o.anotherTakesRooms(node) {
			return "", fmt.Errorf("%w: no other node takes rooms, so nobody could leave %s; start or undrain another one first", api.ErrRefused, node)
		}
	}
	return o.order(ctx, first, func(ctx context.Context) error { return o.cluster.Drain(ctx, node, on) }, func(ctx context.Context, p *progress) (string, error) {
		if !on {
			return fmt.Sprintf("%s takes rooms again", node), nil
		}
		return o.followDrain(ctx, node, p)
	})
}

// anotherTakesRooms tells whether the rooms of a node have somewhere to go.
func (o *operations) anotherTakesRooms(than store.NodeID) bool {
	return slices.ContainsFunc(o.cluster.Members(), func(m cluster.Member) bool { return m.ID != than && m.TakesRooms() })
}

func (o *operations) followDrain(ctx context.Context, node store.NodeID, p *progress) (string, error) {
	seen := false
	for {
		m, ok := o.member(node)
		switch {
		case !ok:
			return fmt.Sprintf("%s was removed meanwhile", node), nil
		case m.Draining:
			seen = true
		case seen: // a node may hear of its own order a moment later
			return "", fmt.Errorf("%s was taken back while it drained", node)
		}
		left := api.Left{Rooms: m.Rooms}
		if m.State != cluster.StateDead {
			left.Sessions = m.Load.Sessions
		}
		if seen && left == (api.Left{}) {
			return fmt.Sprintf("nobody is left on %s: it can be stopped", node), nil
		}
		if p.left(ctx, left, fmt.Sprintf("%s and %s left on %s", api.Count(left.Rooms, "room"), api.Count(left.Sessions, "session"), node)) > opStill {
			if left.Rooms > 0 {
				return "", fmt.Errorf("%s cannot leave %s: the other nodes have no room for them, or the cluster cannot decide; the drain stays ordered and goes on when they can, talkd cluster undrain %s takes it back", api.Count(left.Rooms, "room"), node, node)
			}
			if !seen {
				return "", fmt.Errorf("this node has not heard of the drain of %s: talkd cluster status at another node", node)
			}
			return fmt.Sprintf("no room is left on %s, but %s of clients that cannot be moved: they go elsewhere when they join again, or when %s stops", node, api.Count(left.Sessions, "session"), node), nil
		}
		if err := sleep(ctx, opLook); err != nil {
			return "", err
		}
	}
}

// Move makes another node the home of a room.
func (o *operations) Move(ctx context.Context, room store.RoomID, to store.NodeID) (string, error) {
	home, ok := o.cluster.Lookup(room)
	if !ok {
		return "", api.ErrNoRoom
	}
	if _, ok := o.member(to); !ok {
		return "", store.ErrNoSuchNode
	}
	first := api.AdminEvent{
		Kind: "move", Room: room.String(), Home: string(to), From: string(home.Node),
		Detail: fmt.Sprintf("room %s is to move from %s to %s", room, home.Node, to),
	}
	var decided store.Home
	return o.order(ctx, first, func(ctx context.Context) (err error) {
		decided, err = o.cluster.Move(ctx, room, to)
		return err
	}, func(ctx context.Context, p *progress) (string, error) {
		if home.Node == to {
			return fmt.Sprintf("%s is the home of room %s already", to, room), nil
		}
		return o.followMove(ctx, room, home.Node, decided, p)
	})
}

// followMove looks at the people whose node was the home before: they follow
// their room if their clients can.
func (o *operations) followMove(ctx context.Context, room store.RoomID, from store.NodeID, decided store.Home, p *progress) (string, error) {
	to := decided.Node
	for {
		home, ok := o.cluster.Lookup(room)
		if !ok {
			return fmt.Sprintf("room %s is empty by now", room), nil
		}
		if home.Node != to && home.Epoch > decided.Epoch { // with a lower one, this node has not heard of the move yet
			return "", fmt.Errorf("room %s was moved on to %s", room, home.Node)
		}
		left := api.Left{}
		if seen := o.gather(ctx, room.String())[room.String()]; seen != nil {
			for _, e := range seen.Edges {
				if e.Node == from {
					left.Sessions = e.Sessions
				}
			}
		}
		if home.Node == to && left.Sessions == 0 {
			return fmt.Sprintf("room %s is at home on %s, and so are its people of %s", room, to, from), nil
		}
		if p.left(ctx, left, fmt.Sprintf("%s is the home of room %s, %s left on %s", home.Node, room, api.Count(left.Sessions, "session"), from)) > opStill {
			if home.Node != to {
				return "", fmt.Errorf("this node has not heard that room %s was moved: talkd cluster room %s at another node", room, room)
			}
			return fmt.Sprintf("room %s is at home on %s; on %s is left %s of clients that cannot be moved: they are relayed until they join again", room, to, from, api.Count(left.Sessions, "session")), nil
		}
		if err := sleep(ctx, opLook); err != nil {
			return "", err
		}
	}
}

// Remove takes a node out of the cluster for good.
func (o *operations) Remove(ctx context.Context, node store.NodeID) (string, error) {
	if _, ok := o.member(node); !ok {
		return "", store.ErrNoSuchNode
	}
	first := api.AdminEvent{Kind: "remove", Node: string(node), Detail: fmt.Sprintf("%s is to be removed from the cluster", node)}
	return o.order(ctx, first, func(ctx context.Context) error { return o.cluster.Remove(ctx, node) }, func(ctx context.Context, p *progress) (string, error) {
		for {
			m, ok := o.member(node)
			if node == o.self {
				return fmt.Sprintf("%s has left the cluster, and stops", node), nil
			}
			if !ok {
				return fmt.Sprintf("%s does not belong to the cluster any more", node), nil
			}
			if p.left(ctx, api.Left{Rooms: m.Rooms}, fmt.Sprintf("%s is being removed, %s left", node, api.Count(m.Rooms, "room"))) > opStill {
				return "", fmt.Errorf("%s is still a member here: talkd cluster status at another node", node)
			}
			if err := sleep(ctx, opLook); err != nil {
				return "", err
			}
		}
	})
}

// Rotate replaces keys of the cluster's own.
func (o *operations) Rotate(ctx context.Context, key store.KeyKind) (string, error) {
	rotate, what := o.cluster.RotateGossip, "gossip key"
	if key == store.KeyCA {
		rotate, what = o.cluster.RotateCA, "certificate authority"
	}
	first := api.AdminEvent{Kind: "rotate_" + string(key), Detail: "the " + what + " is to be replaced on all nodes"}
	return o.order(ctx, first, func(context.Context) error {
		if !o.cluster.Status().Quorum {
			return cluster.ErrNoLeader
		}
		return nil
	}, func(ctx context.Context, _ *progress) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
		defer cancel()
		if err := rotate(ctx); err != nil {
			return "", fmt.Errorf("%w; it goes on by itself when they answer", err)
		}
		return "all nodes that are alive use the new " + what, nil
	})
}
