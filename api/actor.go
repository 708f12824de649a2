package api

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/talkd/talkd/store"
)

// guestPrefix tells a guest's token from a login's, which has no dot.
const guestPrefix = "g."

// maxCredential bounds what is looked at of an Authorization header.
const maxCredential = 4 << 10

// actor is who sends a request. The zero actor is anybody.
type actor struct {
	kind  string // store.ActorUsers, store.ActorGuests or ""
	id    string
	name  string
	room  string          // of a guest: the one conversation the token is for
	login store.TokenHash // of a user who came with a login token, else zero
}

func userActor(u store.User) actor {
	return actor{kind: store.ActorUsers, id: u.ID, name: u.DisplayName}
}

// in is the actor as a conversation sees it: a guest of another one is anybody.
func (a actor) in(room string) actor {
	if a.kind == store.ActorGuests && a.room != room {
		return actor{}
	}
	return a
}

// authenticate reads the Authorization header. No header is anybody; one that
// is wrong is refused, also where anybody may come.
func (s *Server) authenticate(ctx context.Context, r *http.Request) (actor, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return actor{}, nil
	}
	if len(header) > maxCredential {
		return actor{}, errLogin()
	}
	scheme, token, _ := strings.Cut(header, " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		return s.bearer(ctx, strings.TrimSpace(token))
	case "basic":
		user, secret, ok := r.BasicAuth()
		if !ok {
			return actor{}, errLogin()
		}
		return s.basic(ctx, r, user, secret)
	}
	return actor{}, errLogin()
}

func (s *Server) bearer(ctx context.Context, token string) (actor, error) {
	if sealed, ok := strings.CutPrefix(token, guestPrefix); ok {
		p, err := s.open(passGuest, sealed, guestLifetime)
		if isBadPass(err) {
			return actor{}, errLogin()
		}
		return actor{kind: store.ActorGuests, id: p.actor, name: p.name, room: p.room}, err
	}
	return s.loginToken(ctx, token)
}

func (s *Server) loginToken(ctx context.Context, token string) (actor, error) {
	hash := store.HashToken(token)
	u, err := s.state.db.UserByLogin(ctx, hash, s.now())
	if errors.Is(err, store.ErrNotFound) {
		return actor{}, errLogin()
	}
	if err != nil {
		return actor{}, err
	}
	a := userActor(u)
	a.login = hash
	return a, nil
}

// basic takes a login token or the password, as Talk's apps send either.
func (s *Server) basic(ctx context.Context, r *http.Request, user, secret string) (actor, error) {
	switch a, err := s.loginToken(ctx, secret); {
	case err == nil && a.id == user:
		return a, nil
	case err == nil:
		return actor{}, errLogin()
	default:
		var f *failure
		if !errors.As(err, &f) {
			return actor{}, err
		}
	}
	u, err := s.checkPassword(ctx, r, user, secret)
	if errors.Is(err, errWrongPassword) {
		return actor{}, errLogin()
	}
	return userActor(u), err
}

// checkPassword finds the user whose password it is, or refuses with
// errWrongPassword, whichever of the two was wrong.
func (s *Server) checkPassword(ctx context.Context, r *http.Request, user, password string) (store.User, error) {
	if len(user) > store.MaxUserID || len(password) > maxPassword {
		return store.User{}, errWrongPassword
	}
	// Apps send the password with each request, and many at once: those are one guess.
	same := s.passwords.id(user, password)
	u, err, _ := s.checks.Do(string(same[:])+clientOf(r).String()+" "+user, func() (any, error) {
		// Before anything is compared, be it with a password that was right a while ago.
		end, err := s.guess(r, user)
		if err != nil {
			return store.User{}, err
		}
		u, err := s.comparePassword(context.WithoutCancel(ctx), user, password) // others wait for it
		end(err)
		return u, err
	})
	known, _ := u.(store.User)
	return known, err
}

func (s *Server) comparePassword(ctx context.Context, user, password string) (store.User, error) {
	u, err := s.state.db.UserByName(ctx, user)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.User{}, err
	}
	if known && s.passwords.recall(s.now(), u.PasswordHash, password) {
		return u, nil
	}

	hash := u.PasswordHash
	if !known {
		hash = s.passwords.unknown
	}
	right, err := s.passwords.verify(ctx, hash, password)
	if err != nil {
		return store.User{}, err
	}
	if !known || !right {
		s.metrics.logins.WithLabelValues("wrong").Inc()
		return store.User{}, errWrongPassword
	}
	s.metrics.logins.WithLabelValues("right").Inc()
	s.passwords.remember(s.now(), u.PasswordHash, password)
	return u, nil
}
