package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/talkd/talkd/store"
)

// participantData is an attendee, present or not, or a guest who is there.
type participantData struct {
	AttendeeID          int64    `json:"attendeeId"`
	RoomToken           string   `json:"roomToken"`
	ActorType           string   `json:"actorType"`
	ActorID             string   `json:"actorId"`
	DisplayName         string   `json:"displayName"`
	ParticipantType     int      `json:"participantType"`
	Permissions         int      `json:"permissions"`
	AttendeePermissions int      `json:"attendeePermissions"`
	AttendeePin         string   `json:"attendeePin"`
	InCall              int      `json:"inCall"`
	LastPing            int64    `json:"lastPing"`
	SessionIDs          []string `json:"sessionIds"`
}

// present is a session that is in the room, with whose it is.
type present struct {
	id     string
	inCall int
	pass   pass
}

// actorKey tells actors of a conversation apart.
type actorKey struct{ kind, id string }

func (p present) key() actorKey {
	if p.pass.guest {
		return actorKey{store.ActorGuests, p.pass.actor}
	}
	return actorKey{store.ActorUsers, p.pass.actor}
}

// presents opens the sessions of a room. What this cluster did not seal for
// the room, or not with a secret it still has, is left out.
func (s *Server) presents(room string, status CallStatus) []present {
	list := make([]present, 0, len(status.Sessions))
	for _, session := range status.Sessions {
		p, err := s.openSession(room, session.SessionID, true)
		if err != nil {
			continue
		}
		list = append(list, present{id: session.SessionID, inCall: session.InCall, pass: p})
	}
	return list
}

// attendees are those of the conversation, by actor.
func (s *Server) attendees(ctx context.Context, room string) ([]store.Attendee, map[actorKey]store.Attendee, error) {
	list, err := s.state.db.Attendees(ctx, room)
	if err != nil {
		return nil, nil, err
	}
	byActor := make(map[actorKey]store.Attendee, len(list))
	for _, a := range list {
		byActor[actorKey{a.ActorType, a.ActorID}] = a
	}
	return list, byActor, nil
}

// who names a session's actor. Somebody without a seat came by the link.
func (s *Server) who(ctx context.Context, p present, attendees map[actorKey]store.Attendee) store.Attendee {
	k := p.key()
	if a, ok := attendees[k]; ok {
		return a
	}
	a := store.Attendee{ActorType: k.kind, ActorID: k.id, DisplayName: p.pass.name, ParticipantType: store.ParticipantGuest}
	if !p.pass.guest {
		a.ParticipantType, a.DisplayName = store.ParticipantUserSelfJoined, k.id
		if u, err := s.state.db.UserByName(ctx, k.id); err == nil {
			a.DisplayName = u.DisplayName
		}
	}
	return a
}

func (s *Server) listParticipants(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	room := v.conversation.Token
	attendees, byActor, err := s.attendees(ctx, room)
	if err != nil {
		return reply{}, err
	}
	list := make([]*participantData, 0, len(attendees))
	entries := make(map[actorKey]*participantData, len(attendees))
	add := func(a store.Attendee) *participantData {
		d := &participantData{
			AttendeeID: a.ID, RoomToken: room, ActorType: a.ActorType, ActorID: a.ActorID, DisplayName: a.DisplayName,
			ParticipantType: int(a.ParticipantType), Permissions: permissions(a.ParticipantType, a.Permissions),
			AttendeePermissions: a.Permissions, SessionIDs: []string{},
		}
		list = append(list, d)
		entries[actorKey{a.ActorType, a.ActorID}] = d
		return d
	}
	for _, a := range attendees {
		add(a)
	}
	now := s.now().Unix()
	for _, p := range s.presents(room, s.live(ctx, room)) {
		d, ok := entries[p.key()]
		if !ok {
			d = add(s.who(ctx, p, byActor))
		}
		d.InCall |= p.inCall
		d.LastPing = now // it is there now; nobody pings
		d.SessionIDs = append(d.SessionIDs, p.id)
	}
	return reply{data: list}, nil
}

// addParticipant gives a user a seat.
func (s *Server) addParticipant(ctx context.Context, r *request) (reply, error) {
	v, err := s.moderated(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if source := r.params["source"]; source != "" && source != store.ActorUsers {
		return reply{}, badParam("source", "only users are served")
	}
	id, err := r.params.text("newParticipant", store.MaxUserID)
	if err != nil {
		return reply{}, err
	}
	if id == "" {
		return reply{}, badParam("newParticipant", "a user is wanted")
	}
	attendees, _, err := s.attendees(ctx, v.conversation.Token)
	if err != nil {
		return reply{}, err
	}
	if len(attendees) >= maxAttendees {
		return reply{}, fmt.Errorf("%w: attendees of a conversation", store.ErrLimit)
	}
	a := store.Attendee{ActorType: store.ActorUsers, ActorID: id, ParticipantType: store.ParticipantUser}
	_, err = s.state.propose(ctx, func(at time.Time) store.Command { return store.NewAddAttendee(at, v.conversation.Token, a) })
	switch {
	case errors.Is(err, store.ErrExists): // as wanted
		err = nil
	case errors.Is(err, store.ErrNoSuchUser), errors.Is(err, store.ErrInvalid):
		err = refuse(http.StatusNotFound, "new-participant", "newParticipant: no such user")
	}
	return reply{}, err
}

// removeSelf gives the own seat up. With the last seat the conversation goes;
// a moderator who is the last one must not leave others without.
func (s *Server) removeSelf(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if v.attendee.ID == 0 {
		return reply{}, ErrNoRoom
	}
	attendees, _, err := s.attendees(ctx, v.conversation.Token)
	if err != nil {
		return reply{}, err
	}
	token := v.conversation.Token
	if len(attendees) == 1 {
		_, err = s.state.propose(ctx, func(at time.Time) store.Command { return store.NewDeleteConversation(at, token) })
		return reply{}, err
	}
	if moderates(v.role) && !otherModerator(attendees, v.actor.id) {
		return reply{}, refuse(http.StatusBadRequest, "last-moderator", "The last moderator cannot leave, delete the conversation instead")
	}
	_, err = s.state.propose(ctx, func(at time.Time) store.Command {
		return store.NewRemoveAttendee(at, token, store.ActorUsers, v.actor.id)
	})
	return reply{}, err
}

func otherModerator(attendees []store.Attendee, self string) bool {
	for _, a := range attendees {
		if moderates(a.ParticipantType) && (a.ActorType != store.ActorUsers || a.ActorID != self) {
			return true
		}
	}
	return false
}
