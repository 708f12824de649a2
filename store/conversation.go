package store

import (
	"fmt"
	"time"
)

// Limits of conversations and attendees; of texts, in characters.
const (
	MinConversationToken = 4
	MaxConversationToken = 30
	MaxConversationName  = 255
	MaxDescription       = 2000
	MaxActorID           = 128
	MaxPermissions       = 255
	// MaxFirstAttendees bounds the attendees a conversation is created with.
	MaxFirstAttendees = 100
)

// ConversationType is the type of a conversation as the Talk API numbers it.
type ConversationType int

// Types of conversations.
const (
	OneToOne ConversationType = 1
	Group    ConversationType = 2
	Public   ConversationType = 3
)

// Conversation is a conversation of the embedded backend. Its room is
// RoomID{Embedded, Token}.
type Conversation struct {
	ID           int64            `json:"id"`    // set by create_conversation
	Token        string           `json:"token"` // chosen by the caller, at least 64 random bits
	Type         ConversationType `json:"type"`
	Name         string           `json:"name"`
	Description  string           `json:"description,omitempty"`
	ReadOnly     bool             `json:"read_only,omitempty"`
	Owner        string           `json:"owner"`         // user id of the creator
	Created      time.Time        `json:"created"`       // set by create_conversation
	LastActivity time.Time        `json:"last_activity"` // set by the commands
}

// Validate checks the conversation against the limits.
func (c Conversation) Validate() error {
	if err := checkConversationToken(c.Token); err != nil {
		return err
	}
	if c.Type < OneToOne || c.Type > Public {
		return fmt.Errorf("%w: conversation type %d", ErrInvalid, c.Type)
	}
	if err := checkRunes("conversation name", c.Name, MaxConversationName, false); err != nil {
		return err
	}
	if err := checkRunes("description", c.Description, MaxDescription, true); err != nil {
		return err
	}
	return checkUserID(c.Owner)
}

// Types of actors.
const (
	ActorUsers  = "users"
	ActorGuests = "guests"
)

// ParticipantType is the role of an attendee as the Talk API numbers it.
type ParticipantType int

// Roles of attendees.
const (
	ParticipantOwner          ParticipantType = 1
	ParticipantModerator      ParticipantType = 2
	ParticipantUser           ParticipantType = 3
	ParticipantGuest          ParticipantType = 4
	ParticipantUserSelfJoined ParticipantType = 5
	ParticipantGuestModerator ParticipantType = 6
)

// Attendee is somebody who belongs to a conversation, present or not.
type Attendee struct {
	ID              int64           `json:"id"`         // set by the command
	ActorType       string          `json:"actor_type"` // ActorUsers or ActorGuests
	ActorID         string          `json:"actor_id"`
	DisplayName     string          `json:"display_name"` // the user's when empty
	ParticipantType ParticipantType `json:"participant_type"`
	Permissions     int             `json:"permissions"`
	Added           time.Time       `json:"added"` // set by the command
}

// Validate checks the attendee against the limits.
func (a Attendee) Validate() error {
	if err := checkActor(a.ActorType, a.ActorID); err != nil {
		return err
	}
	if err := checkRunes("display name", a.DisplayName, MaxDisplayName, false); err != nil {
		return err
	}
	if a.ParticipantType < ParticipantOwner || a.ParticipantType > ParticipantGuestModerator {
		return fmt.Errorf("%w: participant type %d", ErrInvalid, a.ParticipantType)
	}
	if a.Permissions < 0 || a.Permissions > MaxPermissions {
		return fmt.Errorf("%w: permissions %d", ErrInvalid, a.Permissions)
	}
	return nil
}

func checkActor(actorType, actorID string) error {
	switch actorType {
	case ActorUsers:
		return checkUserID(actorID)
	case ActorGuests:
		return checkText("actor id", actorID, 1, MaxActorID)
	}
	return fmt.Errorf("%w: actor type %.40q", ErrInvalid, actorType)
}

func checkConversationToken(s string) error {
	if len(s) < MinConversationToken || len(s) > MaxConversationToken {
		return fmt.Errorf("%w: conversation token of %d characters", ErrInvalid, len(s))
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) {
			return fmt.Errorf("%w: conversation token (letters and digits only)", ErrInvalid)
		}
	}
	return nil
}
