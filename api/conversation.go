package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/talkd/talkd/store"
)

// Bounds of what one account, or one conversation, may grow to.
const (
	maxConversations = 1000
	maxAttendees     = 1000
)

func (s *Server) listRooms(ctx context.Context, r *request) (reply, error) {
	list, err := s.state.db.ConversationsOf(ctx, r.actor.id)
	if err != nil {
		return reply{}, err
	}
	seats := make([]seat, 0, len(list))
	for _, c := range list {
		a, err := s.state.db.Attendee(ctx, c.Token, store.ActorUsers, r.actor.id)
		if errors.Is(err, store.ErrNotFound) { // removed since
			continue
		}
		if err != nil {
			return reply{}, err
		}
		seats = append(seats, seat{conversation: c, actor: r.actor, role: a.ParticipantType, attendee: a})
	}
	return reply{data: s.describeAll(ctx, seats)}, nil
}

func (s *Server) showRoom(ctx context.Context, r *request) (reply, error) {
	v, err := s.seat(ctx, r.actor, r.token())
	if err != nil {
		return reply{}, err
	}
	return reply{data: s.describe(v, s.live(ctx, v.conversation.Token))}, nil
}

// createRoom makes a group (2) or public (3) conversation, which its creator
// owns.
func (s *Server) createRoom(ctx context.Context, r *request) (reply, error) {
	kind, err := r.params.number("roomType", 0, 0, 99)
	if err != nil {
		return reply{}, err
	}
	if kind != int(store.Group) && kind != int(store.Public) {
		return reply{}, badParam("roomType", "2 (group) or 3 (public) wanted")
	}
	name, err := r.params.text("roomName", store.MaxConversationName)
	if err != nil {
		return reply{}, err
	}
	if name == "" {
		return reply{}, badParam("roomName", "a name is wanted")
	}
	if r.params["invite"] != "" {
		return reply{}, badParam("invite", "not served here, add participants to the conversation once it is there")
	}
	owned, err := s.state.db.ConversationsOf(ctx, r.actor.id)
	if err != nil {
		return reply{}, err
	}
	if len(owned) >= maxConversations {
		return reply{}, fmt.Errorf("%w: conversations of a user", store.ErrLimit)
	}
	c := store.Conversation{Type: store.ConversationType(kind), Name: name, Owner: r.actor.id}
	owner := store.Attendee{ActorType: store.ActorUsers, ActorID: r.actor.id, ParticipantType: store.ParticipantOwner}
	c.Token = newToken()
	if _, err := s.state.propose(ctx, func(at time.Time) store.Command { return store.NewCreateConversation(at, c, owner) }); err != nil {
		return reply{}, err
	}
	v, err := s.seat(ctx, r.actor, c.Token)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, data: s.describe(v, CallStatus{})}, nil
}

// newToken has 80 random bits, so that no other conversation has it and nobody
// guesses one.
func newToken() string { return strings.ToLower(rand.Text()[:16]) }

func (s *Server) renameRoom(ctx context.Context, r *request) (reply, error) {
	v, err := s.moderated(ctx, r)
	if err != nil {
		return reply{}, err
	}
	name, err := r.params.text("roomName", store.MaxConversationName)
	if err != nil {
		return reply{}, err
	}
	if name == "" {
		return reply{}, badParam("roomName", "a name is wanted")
	}
	_, err = s.state.propose(ctx, func(at time.Time) store.Command {
		return store.NewRenameConversation(at, v.conversation.Token, name)
	})
	return reply{}, err
}

func (s *Server) deleteRoom(ctx context.Context, r *request) (reply, error) {
	v, err := s.moderated(ctx, r)
	if err != nil {
		return reply{}, err
	}
	_, err = s.state.propose(ctx, func(at time.Time) store.Command { return store.NewDeleteConversation(at, v.conversation.Token) })
	return reply{}, err
}
