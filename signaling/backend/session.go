package backend

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Actor is an attendee of a room as the instance names it.
type Actor struct {
	ID, Type string
}

// SessionRequest tells of a virtual session that is no attendee of the room.
type SessionRequest struct {
	Room      store.RoomID
	Via       string // as RoomRequest
	SessionID store.SessionID
	UserID    string
	User      json.RawMessage // nil if there is none
}

const (
	actionAdd    = "add"
	actionRemove = "remove"
)

// codeUnknownType is how instances refuse questions that they do not know.
const codeUnknownType wire.Code = "unknown_type"

// AddSession tells that a virtual session enters a room. An instance that does not care
// for them has nothing against it.
func (c *Client) AddSession(ctx context.Context, r SessionRequest) error {
	return c.session(ctx, r, actionAdd)
}

// RemoveSession tells that a virtual session has left a room.
func (c *Client) RemoveSession(ctx context.Context, r SessionRequest) error {
	return c.session(ctx, r, actionRemove)
}

func (c *Client) session(ctx context.Context, r SessionRequest, action string) error {
	_, err := c.ask(ctx, r.Room.Backend, r.Via, question{Type: kindSession, Session: &sessionQuestion{
		Version:   wire.Version,
		RoomID:    r.Room.Name,
		Action:    action,
		SessionID: r.SessionID,
		UserID:    r.UserID,
		User:      r.User,
	}}, wire.ErrRoomJoinFailed)
	var refused *wire.Error
	if errors.As(err, &refused) && refused.Code == codeUnknownType {
		return nil
	}
	return err
}
