package node

import (
	"context"
	"errors"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/store"
)

// notifyTimeout bounds what telling a room costs the events behind it.
const notifyTimeout = 5 * time.Second

// followConversations tells the rooms of the embedded backend what was decided
// about their conversations. The room's home tells; the other nodes saw the
// same event and leave it to that one.
//
// What is missed while the home changes is harmless: who joins afterwards is
// asked about by the new home.
func (n *Node) followConversations(ctx context.Context) error {
	if n.api == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	changes, cancel := n.cluster.Watch()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-changes:
			if !ok {
				return ctx.Err()
			}
			if home, ok := n.cluster.Lookup(e.Room); !ok || home.Node != n.cluster.Self() {
				continue
			}
			n.tellRoom(ctx, e)
		}
	}
}

func (n *Node) tellRoom(ctx context.Context, e store.Event) {
	ctx, cancel := context.WithTimeout(ctx, notifyTimeout)
	defer cancel()
	request, ok, err := n.conversationRequest(ctx, e)
	if err == nil && ok {
		err = n.hub.Notify(ctx, e.Room, request)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("a room was not told of a change of its conversation", "room", e.Room.String(), "kind", string(e.Kind), "error", err)
	}
}

// conversationRequest is what a Nextcloud would send for the event.
func (n *Node) conversationRequest(ctx context.Context, e store.Event) (backend.Request, bool, error) {
	switch e.Kind {
	case store.EventConversationDeleted:
		return backend.Request{Type: backend.TypeDelete, Delete: &backend.RoomDelete{}}, true, nil
	case store.EventAttendeeRemoved:
		if e.Attendee.ActorType != store.ActorUsers {
			return backend.Request{}, false, nil
		}
		return backend.Request{Type: backend.TypeDisinvite, Disinvite: &backend.Disinvite{UserIDs: []string{e.Attendee.ActorID}}}, true, nil
	case store.EventConversationChanged:
		properties, err := n.api.Properties(ctx, e.Room.Name)
		if errors.Is(err, api.ErrNoRoom) { // deleted since
			return backend.Request{}, false, nil
		}
		return backend.Request{Type: backend.TypeUpdate, Update: &backend.RoomUpdate{Properties: properties}}, err == nil, err
	}
	return backend.Request{}, false, nil
}
