package api

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/talkd/talkd/store"
)

// joinRoom makes a Talk session in a conversation. A guest gets a token too,
// which makes him the same guest when he comes again.
func (s *Server) joinRoom(ctx context.Context, r *request) (reply, error) {
	v, err := s.seat(ctx, r.actor, r.token())
	if err != nil {
		return reply{}, err
	}
	room := v.conversation.Token
	var guestToken string
	if v.actor.kind != store.ActorUsers {
		name, err := r.params.text("displayName", maxGuestName)
		if err != nil {
			return reply{}, err
		}
		if v.actor.kind == "" {
			v.actor = actor{kind: store.ActorGuests, id: hex.EncodeToString(random(16)), room: room}
		}
		if name != "" {
			v.actor.name = name
		}
		if guestToken, err = s.guestToken(v.actor); err != nil {
			return reply{}, err
		}
	}
	session, err := s.session(room, v.actor)
	if err != nil {
		return reply{}, err
	}
	d := s.describe(v, s.live(ctx, room))
	d.SessionID, d.GuestToken, d.LastPing = session, guestToken, s.now().Unix()
	return reply{data: d}, nil
}

func (s *Server) guestToken(a actor) (string, error) {
	sealed, err := s.seal(pass{kind: passGuest, issued: s.now(), room: a.room, guest: true, actor: a.id, name: a.name})
	return guestPrefix + sealed, err
}

// leaveRoom takes a session out of the call. It is out of the room when it
// leaves it at signaling: there is nothing to forget here.
func (s *Server) leaveRoom(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if r.params["sessionId"] == "" {
		return reply{}, nil
	}
	err = s.setInCall(ctx, r, v, func(int) (int, error) { return 0, nil })
	if errors.Is(err, ErrNoSession) {
		err = nil
	}
	return reply{}, err
}

// nameGuest gives a guest another name, which the new token carries from the
// next joining on. Those who are there learn of it through signaling.
func (s *Server) nameGuest(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if v.actor.kind != store.ActorGuests {
		return reply{}, refuse(http.StatusForbidden, "actor", "Only guests choose their name here")
	}
	name, err := r.params.text("displayName", maxGuestName)
	if err != nil {
		return reply{}, err
	}
	v.actor.name = name
	token, err := s.guestToken(v.actor)
	if err != nil {
		return reply{}, err
	}
	return reply{data: struct {
		GuestToken  string `json:"guestToken"`
		ActorID     string `json:"actorId"`
		DisplayName string `json:"displayName"`
	}{token, v.actor.id, name}}, nil
}
