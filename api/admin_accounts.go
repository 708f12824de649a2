package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/talkd/talkd/store"
)

// Limits of join tokens.
const (
	defaultJoinTTL = time.Hour
	minJoinTTL     = time.Minute
	maxJoinTTL     = 7 * 24 * time.Hour
)

func (a *Admin) createJoinToken(r *http.Request) (any, error) {
	var body struct {
		TTL string `json:"ttl"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	ttl := defaultJoinTTL
	if body.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(body.TTL); err != nil || ttl < minJoinTTL || ttl > maxJoinTTL {
			return nil, refuse(http.StatusBadRequest, "", fmt.Sprintf("ttl: a duration from %v to %v wanted, such as 30m", minJoinTTL, maxJoinTTL))
		}
	}
	token, command, err := a.deps.Tokens.CreateJoinToken(r.Context(), ttl)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "join token created", "ttl", ttl)
	return struct {
		Token   string `json:"token"`
		Command string `json:"command"`
	}{token, command}, nil
}

type adminUser struct {
	ID          string    `json:"id"`
	DisplayName string    `json:"displayname"`
	Admin       bool      `json:"admin"`
	Created     time.Time `json:"created"`
}

func (a *Admin) listUsers(r *http.Request) (any, error) {
	users, err := a.deps.Users.ListUsers(r.Context(), r.URL.Query().Get("search"))
	if err != nil {
		return nil, err
	}
	list := make([]adminUser, len(users))
	for i, u := range users {
		list[i] = adminUser{u.ID, u.DisplayName, u.Admin, u.Created}
	}
	return struct {
		Users []adminUser `json:"users"`
	}{list}, nil
}

func (a *Admin) createUser(r *http.Request) (any, error) {
	var body struct {
		ID          string `json:"id"`
		Password    string `json:"password"`
		DisplayName string `json:"displayname"`
		Admin       bool   `json:"admin"`
	}
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	err := a.deps.Users.CreateUser(r.Context(), NewUser{body.ID, body.Password, body.DisplayName, body.Admin})
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, refuse(http.StatusConflict, "", "there is an account of this name already")
	case err != nil:
		return nil, err
	}
	a.log.InfoContext(r.Context(), "account created", "admin", body.Admin) // whose, is told by the list of accounts
	return struct {
		ID string `json:"id"`
	}{body.ID}, nil
}
