package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/talkd/talkd/store"
)

// Permissions of attendees, as the Talk API numbers them.
const (
	permCustom        = 1
	permStartCall     = 2
	permJoinCall      = 4
	permIgnoreLobby   = 8
	permPublishAudio  = 16
	permPublishVideo  = 32
	permPublishScreen = 64
	permChat          = 128

	permDefault   = permStartCall | permJoinCall | permPublishAudio | permPublishVideo | permPublishScreen | permChat
	permModerator = permDefault | permIgnoreLobby
)

// seat is what somebody is in a conversation.
type seat struct {
	conversation store.Conversation
	actor        actor
	role         store.ParticipantType
	attendee     store.Attendee // ID 0: comes by the link of a public conversation
}

// seat finds what the actor is in a conversation. A conversation that is not
// there and one that is closed to the actor are the same: ErrNoRoom, after the
// same reads.
func (s *Server) seat(ctx context.Context, a actor, token string) (seat, error) {
	c, err := s.state.db.ConversationByToken(ctx, token)
	found := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return seat{}, err
	}
	v := seat{conversation: c, actor: a.in(token), role: store.ParticipantGuest}
	if v.actor.kind == store.ActorUsers {
		v.role = store.ParticipantUserSelfJoined
		v.attendee, err = s.state.db.Attendee(ctx, token, store.ActorUsers, v.actor.id)
		switch {
		case err == nil:
			v.role = v.attendee.ParticipantType
		case !errors.Is(err, store.ErrNotFound):
			return seat{}, err
		}
	}
	if !found || (v.attendee.ID == 0 && c.Type != store.Public) {
		return seat{}, ErrNoRoom
	}
	return v, nil
}

// member is the seat of somebody who is in the conversation or may come at any
// time; a stranger with the link has to come in as a guest first.
func (s *Server) member(ctx context.Context, r *request) (seat, error) {
	v, err := s.seat(ctx, r.actor, r.token())
	if err == nil && v.actor.kind == "" {
		err = ErrNoRoom
	}
	return v, err
}

// moderated is the seat of a moderator.
func (s *Server) moderated(ctx context.Context, r *request) (seat, error) {
	v, err := s.member(ctx, r)
	if err == nil && !moderates(v.role) {
		err = refuse(http.StatusForbidden, "permission", "Only moderators may do this")
	}
	return v, err
}

func moderates(t store.ParticipantType) bool {
	return t == store.ParticipantOwner || t == store.ParticipantModerator || t == store.ParticipantGuestModerator
}

func (v seat) permissions() int { return permissions(v.role, v.attendee.Permissions) }

// permissions of a role, unless the attendee has some of its own.
func permissions(role store.ParticipantType, own int) int {
	switch {
	case moderates(role):
		return permModerator
	case own != 0:
		return own
	}
	return permDefault
}

// grants are the permissions as signaling knows them.
func (v seat) grants() []string {
	p := v.permissions()
	list := []string{}
	for _, g := range []struct {
		bit  int
		name string
	}{
		{permPublishAudio, "publish-audio"},
		{permPublishVideo, "publish-video"},
		{permPublishScreen, "publish-screen"},
	} {
		if p&g.bit != 0 {
			list = append(list, g.name)
		}
	}
	list = append(list, "transient-data")
	if moderates(v.role) {
		list = append(list, "control")
	}
	return list
}

// Conversation is what signaling has to know of a conversation.
type Conversation struct {
	Properties json.RawMessage // what clients are told
	Public     bool            // whoever has the link may be there
	Users      []string        // who belongs to it
}

// Conversation reads a conversation. It returns ErrNoRoom if there is none.
func (s *Server) Conversation(ctx context.Context, room string) (Conversation, error) {
	c, err := s.state.db.ConversationByToken(ctx, room)
	if errors.Is(err, store.ErrNotFound) {
		return Conversation{}, ErrNoRoom
	}
	if err != nil {
		return Conversation{}, err
	}
	attendees, err := s.state.db.Attendees(ctx, room)
	if err != nil {
		return Conversation{}, err
	}
	out := Conversation{Public: c.Type == store.Public}
	for _, a := range attendees {
		if a.ActorType == store.ActorUsers {
			out.Users = append(out.Users, a.ActorID)
		}
	}
	out.Properties, err = properties(c)
	return out, err
}

func properties(c store.Conversation) (json.RawMessage, error) {
	return json.Marshal(struct {
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
		Type        int    `json:"type"`
		ReadOnly    int    `json:"read-only"`
		Description string `json:"description,omitempty"`
	}{c.Name, c.Name, int(c.Type), number(c.ReadOnly), c.Description})
}

// number is a yes or no as Talk writes most of them.
func number(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
