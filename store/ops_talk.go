package store

import (
	"fmt"
	"strings"
	"time"
)

type putUser struct {
	User     User `json:"user"`
	IfAbsent bool `json:"if_absent,omitempty"`
}

// NewPutUser writes an account. One that is there already keeps its Created.
func NewPutUser(at time.Time, u User) Command {
	return newCommand(OpPutUser, at, &putUser{User: u})
}

// NewCreateUser writes an account, or is refused with ErrExists.
func NewCreateUser(at time.Time, u User) Command {
	return newCommand(OpPutUser, at, &putUser{User: u, IfAbsent: true})
}

func (o *putUser) validate() error { return o.User.Validate() }

type removeUser struct {
	User string `json:"user"`
}

// NewRemoveUser removes an account, its logins, its seats in conversations,
// and the conversations that are left without anybody.
func NewRemoveUser(at time.Time, user string) Command {
	return newCommand(OpRemoveUser, at, &removeUser{User: user})
}

func (o *removeUser) validate() error { return checkUserID(o.User) }

type putLogin struct {
	Login Login `json:"login"`
}

// NewPutLogin logs a user in until the token expires. Of a user's logins only
// the MaxLogins newest are kept.
func NewPutLogin(at time.Time, l Login) Command {
	l.Expires = storedTime(l.Expires)
	return newCommand(OpPutLogin, at, &putLogin{Login: l})
}

func (o *putLogin) validate() error {
	if err := checkHash(o.Login.TokenHash); err != nil {
		return err
	}
	return checkUserID(o.Login.User)
}

type removeLogin struct {
	Hash TokenHash `json:"hash"`
}

// NewRemoveLogin logs a token out.
func NewRemoveLogin(at time.Time, hash TokenHash) Command {
	return newCommand(OpRemoveLogin, at, &removeLogin{Hash: hash})
}

func (o *removeLogin) validate() error { return checkHash(o.Hash) }

type createConversation struct {
	Conversation Conversation `json:"conversation"`
	Attendees    []Attendee   `json:"attendees"`
}

// NewCreateConversation creates a conversation together with its first
// attendees; a one-to-one has exactly two users and exists once for the pair.
// Result.ID is the id of the conversation.
func NewCreateConversation(at time.Time, c Conversation, attendees ...Attendee) Command {
	return newCommand(OpCreateConversation, at, &createConversation{Conversation: c, Attendees: attendees})
}

func (o *createConversation) validate() error {
	if err := o.Conversation.Validate(); err != nil {
		return err
	}
	if len(o.Attendees) > MaxFirstAttendees {
		return fmt.Errorf("%w: %d first attendees", ErrInvalid, len(o.Attendees))
	}
	for _, a := range o.Attendees {
		if err := a.Validate(); err != nil {
			return err
		}
	}
	if o.Conversation.Type != OneToOne {
		return nil
	}
	if len(o.Attendees) != 2 || o.Attendees[0].ActorType != ActorUsers || o.Attendees[1].ActorType != ActorUsers ||
		o.Attendees[0].ActorID == o.Attendees[1].ActorID {
		return fmt.Errorf("%w: a one-to-one conversation has two users", ErrInvalid)
	}
	return nil
}

// pair is what makes a one-to-one conversation unique, nil for the others. No
// user id contains a line feed.
func (o *createConversation) pair() any {
	if o.Conversation.Type != OneToOne {
		return nil
	}
	return userPair(o.Attendees[0].ActorID, o.Attendees[1].ActorID)
}

func userPair(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return strings.Join([]string{a, b}, "\n")
}

type renameConversation struct {
	Token string `json:"token"`
	Name  string `json:"name"`
}

// NewRenameConversation gives a conversation another name.
func NewRenameConversation(at time.Time, token, name string) Command {
	return newCommand(OpRenameConversation, at, &renameConversation{Token: token, Name: name})
}

func (o *renameConversation) validate() error {
	if err := checkRunes("conversation name", o.Name, MaxConversationName, false); err != nil {
		return err
	}
	return checkConversationToken(o.Token)
}

type deleteConversation struct {
	Token string `json:"token"`
}

// NewDeleteConversation deletes a conversation with its attendees.
func NewDeleteConversation(at time.Time, token string) Command {
	return newCommand(OpDeleteConversation, at, &deleteConversation{Token: token})
}

func (o *deleteConversation) validate() error { return checkConversationToken(o.Token) }

type addAttendee struct {
	Token    string   `json:"token"`
	Attendee Attendee `json:"attendee"`
}

// NewAddAttendee adds somebody to a conversation. Result.ID is the id of the
// attendee; one that is there already is refused with ErrExists.
func NewAddAttendee(at time.Time, token string, a Attendee) Command {
	return newCommand(OpAddAttendee, at, &addAttendee{Token: token, Attendee: a})
}

func (o *addAttendee) validate() error {
	if err := checkConversationToken(o.Token); err != nil {
		return err
	}
	return o.Attendee.Validate()
}

type removeAttendee struct {
	Token     string `json:"token"`
	ActorType string `json:"actor_type"`
	ActorID   string `json:"actor_id"`
}

// NewRemoveAttendee removes somebody from a conversation.
func NewRemoveAttendee(at time.Time, token, actorType, actorID string) Command {
	return newCommand(OpRemoveAttendee, at, &removeAttendee{Token: token, ActorType: actorType, ActorID: actorID})
}

func (o *removeAttendee) validate() error {
	if err := checkConversationToken(o.Token); err != nil {
		return err
	}
	return checkActor(o.ActorType, o.ActorID)
}
