package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/talkd/talkd/store"
)

// NewUser is an account to make.
type NewUser struct {
	ID          string
	Password    string
	DisplayName string // the id when empty
	Admin       bool
}

// CreateUser makes an account. It returns store.ErrExists if there is one of
// that name, ErrWeakPassword, or store.ErrInvalid.
func (s *Server) CreateUser(ctx context.Context, n NewUser) error {
	switch length := utf8.RuneCountInString(n.Password); {
	case !utf8.ValidString(n.Password) || len(n.Password) > maxPassword:
		return fmt.Errorf("%w: password longer than %d bytes or not UTF-8", store.ErrInvalid, maxPassword)
	case n.Password == "":
		return fmt.Errorf("%w: empty", ErrWeakPassword)
	case length < minPassword && !s.cfg.Dev:
		return fmt.Errorf("%w: %d characters, at least %d wanted", ErrWeakPassword, length, minPassword)
	}
	// Looked up first: at every start of a node the demo user exists, and
	// hashing is dear.
	switch _, err := s.state.db.UserByName(ctx, n.ID); {
	case err == nil:
		return fmt.Errorf("%w: user", store.ErrExists)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	u := store.User{ID: n.ID, DisplayName: n.DisplayName, PasswordHash: s.passwords.unknown, Admin: n.Admin}
	if err := u.Validate(); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, n.Password)
	if err != nil {
		return err
	}
	u.PasswordHash = hash
	_, err = s.state.propose(ctx, func(at time.Time) store.Command { return store.NewCreateUser(at, u) })
	return err
}

// ListUsers are the accounts whose id or name contains the text, in order, at
// most store.MaxUsersListed.
func (s *Server) ListUsers(ctx context.Context, search string) ([]store.User, error) {
	return s.state.db.Users(ctx, search, store.MaxUsersListed)
}

// logIn answers a password with a token.
func (s *Server) logIn(ctx context.Context, r *request) (reply, error) {
	user, err := r.params.text("user", store.MaxUserID)
	if err != nil {
		return reply{}, err
	}
	password, err := r.params.secret("password", maxPassword)
	if err != nil {
		return reply{}, err
	}
	if user == "" || password == "" {
		return reply{}, badParam("user", "user and password wanted")
	}
	u, err := s.checkPassword(ctx, r.Request, user, password)
	if err != nil {
		return reply{}, err
	}
	token := rand.Text() + rand.Text()
	expires := s.now().Add(s.cfg.LoginLifetime)
	login := store.Login{TokenHash: store.HashToken(token), User: u.ID, Expires: expires}
	if _, err := s.state.propose(ctx, func(at time.Time) store.Command { return store.NewPutLogin(at, login) }); err != nil {
		return reply{}, err
	}
	return reply{data: struct {
		Token       string `json:"token"`
		UserID      string `json:"userId"`
		DisplayName string `json:"displayName"`
		Expires     string `json:"expires"`
	}{token, u.ID, u.DisplayName, expires.UTC().Format(time.RFC3339)}}, nil
}

// logOut ends the login whose token came with the request.
func (s *Server) logOut(ctx context.Context, r *request) (reply, error) {
	if r.actor.login == (store.TokenHash{}) {
		return reply{}, refuse(http.StatusBadRequest, "login", "Only a login token can be logged out, this request came with a password")
	}
	_, err := s.state.propose(ctx, func(at time.Time) store.Command { return store.NewRemoveLogin(at, r.actor.login) })
	if errors.Is(err, store.ErrNotFound) { // at the same time by somebody else
		err = nil
	}
	return reply{}, err
}

func (s *Server) currentUser(_ context.Context, r *request) (reply, error) {
	return reply{data: struct {
		ID          string `json:"id"`
		DisplayName string `json:"displayname"`
		Dashed      string `json:"display-name"` // some clients read this one
		Enabled     bool   `json:"enabled"`
	}{r.actor.id, r.actor.name, r.actor.name, true}}, nil
}
