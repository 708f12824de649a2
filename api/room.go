package api

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/talkd/talkd/store"
)

// statusTimeout bounds the wait for rooms whose home is slow: without an
// answer a conversation is shown as one without a call.
const statusTimeout = 2 * time.Second

// statusParallel bounds how many rooms one list asks for at the same time.
const statusParallel = 8

// roomData is a conversation as Talk's clients read it. Types are theirs: some
// clients decode strictly. Fields of what is not served yet say so: no chat
// messages, no lobby, no password.
type roomData struct {
	ID                    int64    `json:"id"`
	Token                 string   `json:"token"`
	Type                  int      `json:"type"`
	Name                  string   `json:"name"`
	DisplayName           string   `json:"displayName"`
	Description           string   `json:"description"`
	ObjectType            string   `json:"objectType"`
	ObjectID              string   `json:"objectId"`
	ActorType             string   `json:"actorType"`
	ActorID               string   `json:"actorId"`
	AttendeeID            int64    `json:"attendeeId"`
	AttendeePermissions   int      `json:"attendeePermissions"`
	AttendeePin           string   `json:"attendeePin"`
	ParticipantType       int      `json:"participantType"`
	ParticipantFlags      int      `json:"participantFlags"`
	Permissions           int      `json:"permissions"`
	CallPermissions       int      `json:"callPermissions"`
	DefaultPermissions    int      `json:"defaultPermissions"`
	SessionID             string   `json:"sessionId"`
	GuestToken            string   `json:"guestToken,omitempty"`
	HasPassword           bool     `json:"hasPassword"`
	HasCall               bool     `json:"hasCall"`
	CallFlag              int      `json:"callFlag"`
	CallStartTime         int64    `json:"callStartTime"`
	CallRecording         int      `json:"callRecording"`
	CanStartCall          bool     `json:"canStartCall"`
	CanDeleteConversation bool     `json:"canDeleteConversation"`
	CanLeaveConversation  bool     `json:"canLeaveConversation"`
	CanEnableSIP          bool     `json:"canEnableSIP"`
	SIPEnabled            int      `json:"sipEnabled"`
	IsFavorite            bool     `json:"isFavorite"`
	IsArchived            bool     `json:"isArchived"`
	IsImportant           bool     `json:"isImportant"`
	IsSensitive           bool     `json:"isSensitive"`
	IsCustomAvatar        bool     `json:"isCustomAvatar"`
	AvatarVersion         string   `json:"avatarVersion"`
	LastActivity          int64    `json:"lastActivity"`
	LastPing              int64    `json:"lastPing"`
	LastReadMessage       int64    `json:"lastReadMessage"`
	LastCommonReadMessage int64    `json:"lastCommonReadMessage"`
	UnreadMessages        int      `json:"unreadMessages"`
	UnreadMention         bool     `json:"unreadMention"`
	UnreadMentionDirect   bool     `json:"unreadMentionDirect"`
	MentionPermissions    int      `json:"mentionPermissions"`
	MessageExpiration     int      `json:"messageExpiration"`
	NotificationLevel     int      `json:"notificationLevel"`
	NotificationCalls     int      `json:"notificationCalls"`
	ReadOnly              int      `json:"readOnly"`
	Listable              int      `json:"listable"`
	LobbyState            int      `json:"lobbyState"`
	LobbyTimer            int64    `json:"lobbyTimer"`
	RecordingConsent      int      `json:"recordingConsent"`
	BreakoutRoomMode      int      `json:"breakoutRoomMode"`
	BreakoutRoomStatus    int      `json:"breakoutRoomStatus"`
	LiveTranscription     string   `json:"liveTranscriptionLanguageId"`
	LastPinnedID          int64    `json:"lastPinnedId"`
	HiddenPinnedID        int64    `json:"hiddenPinnedId"`
	HasScheduledMessages  int      `json:"hasScheduledMessages"`
	Attributes            int      `json:"attributes"`
	TagIDs                []string `json:"tagIds"`
}

// noSession is the session id of a conversation one is not in.
const noSession = "0"

// describe writes a conversation for whoever has the seat.
func (s *Server) describe(v seat, live CallStatus) roomData {
	c := v.conversation
	perms := v.permissions()
	d := roomData{
		ID: c.ID, Token: c.Token, Type: int(c.Type), Name: c.Name, DisplayName: c.Name, Description: c.Description,
		ActorType: v.actor.kind, ActorID: v.actor.id, AttendeeID: v.attendee.ID, AttendeePermissions: v.attendee.Permissions,
		ParticipantType: int(v.role), Permissions: perms,
		SessionID:    noSession,
		LastActivity: c.LastActivity.Unix(), ReadOnly: number(c.ReadOnly),
		CanStartCall:          perms&permStartCall != 0 && !c.ReadOnly,
		CanDeleteConversation: moderates(v.role) && c.Type != store.OneToOne,
		CanLeaveConversation:  v.attendee.ID != 0,
		NotificationLevel:     1, // always; nothing else is kept yet
		NotificationCalls:     1,
		TagIDs:                []string{},
	}
	if v.actor.kind == "" {
		d.ActorType = store.ActorGuests
	}
	for _, p := range live.Sessions {
		d.CallFlag |= p.InCall
	}
	if d.HasCall = d.CallFlag != 0; d.HasCall && !live.Since.IsZero() {
		d.CallStartTime = live.Since.Unix()
	}
	return d
}

// live asks the home who is in the room. Showing a conversation must not fail
// because its home does.
func (s *Server) live(ctx context.Context, room string) CallStatus {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	status, err := s.calls.Status(ctx, room)
	if err != nil {
		s.log.DebugContext(ctx, "home does not tell of its room", "room", room, "error", err)
		return CallStatus{}
	}
	return status
}

// describeAll writes a list of conversations.
func (s *Server) describeAll(ctx context.Context, seats []seat) []roomData {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	list := make([]roomData, len(seats))
	var g errgroup.Group
	g.SetLimit(statusParallel)
	for i, v := range seats {
		g.Go(func() error {
			list[i] = s.describe(v, s.live(ctx, v.conversation.Token))
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	return list
}
