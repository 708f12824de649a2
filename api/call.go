package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/talkd/talkd/store"
)

// Flags of a session in a call, as Talk numbers them.
const (
	flagInCall = 1
	flagAudio  = 2
	flagVideo  = 4
	flagPhone  = 8
	flagsAll   = flagInCall | flagAudio | flagVideo | flagPhone
)

// peerData is a session in the call.
type peerData struct {
	ActorType   string `json:"actorType"`
	ActorID     string `json:"actorId"`
	DisplayName string `json:"displayName"`
	Token       string `json:"token"`
	LastPing    int64  `json:"lastPing"`
	SessionID   string `json:"sessionId"`
}

func (s *Server) listPeers(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	room := v.conversation.Token
	status, err := s.calls.Status(ctx, room)
	if err != nil {
		return reply{}, err
	}
	_, attendees, err := s.attendees(ctx, room)
	if err != nil {
		return reply{}, err
	}
	now := s.now().Unix()
	list := []peerData{}
	for _, p := range s.presents(room, status) {
		if p.inCall == 0 {
			continue
		}
		a := s.who(ctx, p, attendees)
		list = append(list, peerData{a.ActorType, a.ActorID, a.DisplayName, room, now, p.id})
	}
	return reply{data: list}, nil
}

func (s *Server) joinCall(ctx context.Context, r *request) (reply, error) {
	return s.changeCall(ctx, r, func(v seat, flags, now int) (int, error) {
		if now == 0 && v.conversation.ReadOnly {
			return 0, refuse(http.StatusForbidden, "read-only", "The conversation is read-only")
		}
		if v.permissions()&permJoinCall == 0 {
			return 0, refuse(http.StatusForbidden, "permission", "No permission to join calls")
		}
		return flags | flagInCall, nil
	})
}

func (s *Server) updateCall(ctx context.Context, r *request) (reply, error) {
	return s.changeCall(ctx, r, func(_ seat, flags, now int) (int, error) {
		if now&flagInCall == 0 {
			return 0, refuse(http.StatusBadRequest, "in-call", "The session is not in the call")
		}
		return flags | flagInCall, nil
	})
}

// changeCall sets the own session's flags to what next makes of the wanted and
// the present ones.
func (s *Server) changeCall(ctx context.Context, r *request, next func(v seat, flags, now int) (int, error)) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	flags, err := r.params.number("flags", flagInCall|flagAudio|flagVideo, 0, flagsAll)
	if err != nil {
		return reply{}, err
	}
	err = s.setInCall(ctx, r, v, func(now int) (int, error) {
		flags, err := next(v, flags, now)
		if v.permissions()&permPublishAudio == 0 {
			flags &^= flagAudio
		}
		if v.permissions()&permPublishVideo == 0 {
			flags &^= flagVideo
		}
		return flags, err
	})
	return reply{}, err
}

func (s *Server) leaveCall(ctx context.Context, r *request) (reply, error) {
	v, err := s.member(ctx, r)
	if err != nil {
		return reply{}, err
	}
	all, err := r.params.truth("all")
	if err != nil {
		return reply{}, err
	}
	if all {
		if !moderates(v.role) {
			return reply{}, refuse(http.StatusForbidden, "permission", "Only moderators end the call for everybody")
		}
		return reply{}, s.calls.End(ctx, v.conversation.Token)
	}
	return reply{}, s.setInCall(ctx, r, v, func(int) (int, error) { return 0, nil })
}

// setInCall finds the own session among those in the room and tells the home
// its new flags.
func (s *Server) setInCall(ctx context.Context, r *request, v seat, next func(now int) (int, error)) error {
	room := v.conversation.Token
	status, err := s.calls.Status(ctx, room)
	if err != nil {
		return err
	}
	presents := s.presents(room, status)
	own, err := s.ownSession(r, v, presents)
	if err != nil {
		return err
	}
	flags, err := next(own.inCall)
	if err != nil {
		return err
	}
	own.inCall = flags
	_, attendees, err := s.attendees(ctx, room)
	if err != nil {
		return err
	}
	changed := s.participant(ctx, own, attendees)
	all := make([]CallParticipant, 0, len(presents))
	for _, p := range presents {
		switch {
		case p.id == own.id:
			if own.inCall != 0 {
				all = append(all, changed)
			}
		case p.inCall != 0:
			all = append(all, s.participant(ctx, p, attendees))
		}
	}
	return s.calls.InCall(ctx, room, []CallParticipant{changed}, all)
}

// ownSession is the session that the request names, or the newest of the
// actor's: Talk's apps name none.
func (s *Server) ownSession(r *request, v seat, presents []present) (present, error) {
	id := r.params["sessionId"]
	if id != "" && id != noSession {
		p, err := s.openSession(v.conversation.Token, id, true)
		if err != nil {
			if isBadPass(err) {
				err = fmt.Errorf("%w: %w", ErrNoSession, err)
			}
			return present{}, err
		}
		if !p.of(v.actor) {
			return present{}, fmt.Errorf("%w: somebody else's", ErrNoSession)
		}
	}
	var own present
	for _, p := range presents {
		switch {
		case !p.pass.of(v.actor):
		case id == p.id:
			return p, nil
		case (id == "" || id == noSession) && (own.id == "" || p.pass.issued.After(own.pass.issued)):
			own = p
		}
	}
	if own.id == "" {
		return present{}, ErrNoSession
	}
	return own, nil
}

// participant is a session as Talk tells signaling of it.
func (s *Server) participant(ctx context.Context, p present, attendees map[actorKey]store.Attendee) CallParticipant {
	a := s.who(ctx, p, attendees)
	c := CallParticipant{
		InCall: p.inCall, LastPing: s.now().Unix(), SessionID: p.id, ParticipantType: int(a.ParticipantType),
		Permissions: permissions(a.ParticipantType, a.Permissions), ActorType: a.ActorType, ActorID: a.ActorID, DisplayName: a.DisplayName,
	}
	if a.ActorType == store.ActorUsers {
		c.UserID = a.ActorID
	}
	return c
}
