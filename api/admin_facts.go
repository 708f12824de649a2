package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/talkd/talkd/store"
)

// ClusterView is the cluster as this node sees it.
type ClusterView struct {
	ClusterID    string     `json:"cluster_id"`
	Leader       string     `json:"leader"` // "": none is known
	Term         uint64     `json:"term"`
	CommitIndex  uint64     `json:"commit_index"`
	AppliedIndex uint64     `json:"applied_index"`
	Quorum       bool       `json:"quorum"`
	Nodes        []NodeView `json:"nodes"`
	Rooms        int        `json:"rooms"`
	Sessions     int        `json:"sessions"`
	Version      string     `json:"version"`
}

// NodeView is a node.
type NodeView struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"`
	Region   string   `json:"region"`
	Version  string   `json:"version"`
	Raft     string   `json:"raft"`  // voter, nonvoter or client
	State    string   `json:"state"` // alive, suspect, dead or draining
	Load     LoadView `json:"load"`
	Capacity Capacity `json:"capacity"`
	UptimeS  float64  `json:"uptime_s"`
}

// LoadView is what a node measured of itself.
type LoadView struct {
	CPU         float64 `json:"cpu"` // share of the machine, 0–1
	EgressBps   float64 `json:"egress_bps"`
	IngressBps  float64 `json:"ingress_bps"`
	EgressPps   float64 `json:"egress_pps"`
	Sessions    int     `json:"sessions"`
	Publishers  int     `json:"publishers"`
	Subscribers int     `json:"subscribers"`
	Rooms       int     `json:"rooms"`
	Score       float64 `json:"score"`
}

// Capacity is what a node may take; what is not limited is left out.
type Capacity struct {
	EgressBps float64 `json:"egress_bps,omitempty"`
	Sessions  int     `json:"sessions,omitempty"`
}

// RoomView is a room that has a home.
type RoomView struct {
	ID      string      `json:"id"`
	Backend string      `json:"backend"`
	Home    string      `json:"home"`
	Epoch   uint64      `json:"epoch"`
	Created time.Time   `json:"created"`
	Edges   []EdgeView  `json:"edges"`
	Relays  []RelayView `json:"relays"`
}

// EdgeView is a node's part of a room.
type EdgeView struct {
	Node        string `json:"node"`
	Sessions    int    `json:"sessions"`
	Publishers  int    `json:"publishers"`
	Subscribers int    `json:"subscribers"`
}

// RelayView is what one node brings from another for a room.
type RelayView struct {
	From   string  `json:"from"`
	To     string  `json:"to"`
	Tracks int     `json:"tracks"`
	Bps    float64 `json:"bps"`
	Lost   uint64  `json:"lost"`
}

// Limits of join tokens.
const (
	defaultJoinTTL = time.Hour
	minJoinTTL     = time.Minute
	maxJoinTTL     = 7 * 24 * time.Hour
)

func (a *Admin) cluster(r *http.Request) (any, error) {
	v := a.deps.Cluster.Cluster(r.Context())
	v.Nodes = orEmpty(v.Nodes)
	return v, nil
}

func (a *Admin) nodes(r *http.Request) (any, error) {
	return struct {
		Nodes []NodeView `json:"nodes"`
	}{orEmpty(a.deps.Cluster.Cluster(r.Context()).Nodes)}, nil
}

func (a *Admin) node(r *http.Request) (any, error) {
	id := r.PathValue("id")
	for _, n := range a.deps.Cluster.Cluster(r.Context()).Nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "", "no such node, GET /admin/v1/nodes lists them")
}

func (a *Admin) rooms(r *http.Request) (any, error) {
	rooms := slices.Clone(a.deps.Rooms.Rooms(r.Context()))
	for i := range rooms {
		rooms[i] = complete(rooms[i])
	}
	slices.SortFunc(rooms, func(x, y RoomView) int { return cmp.Compare(x.ID, y.ID) })
	return struct {
		Rooms []RoomView `json:"rooms"`
	}{orEmpty(rooms)}, nil
}

func (a *Admin) room(r *http.Request) (any, error) {
	id, err := store.ParseRoomID(r.PathValue("id"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "", "a room is named ROOM, or BACKEND~ROOM if it is not of the embedded backend")
	}
	v, ok := a.deps.Rooms.Room(r.Context(), id)
	if !ok {
		return nil, refuse(http.StatusNotFound, "", "nobody is in such a room, GET /admin/v1/rooms lists those with somebody")
	}
	return complete(v), nil
}

// complete makes lists of what is none.
func complete(r RoomView) RoomView {
	r.Edges, r.Relays, r.Created = orEmpty(r.Edges), orEmpty(r.Relays), r.Created.UTC()
	return r
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

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
	a.log.InfoContext(r.Context(), "account created", "user", body.ID, "admin", body.Admin)
	return struct {
		ID string `json:"id"`
	}{body.ID}, nil
}

// answer turns a function that returns facts into a handler.
func (a *Admin) answer(status int, f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), adminTimeout)
		defer cancel()
		v, err := f(r.WithContext(ctx))
		if err == nil {
			writeJSON(w, status, v)
			return
		}
		fail := failureOf(err)
		switch {
		case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			fail.message = "the cluster cannot decide now (no leader, or no quorum): look at GET /admin/v1/cluster"
			a.log.WarnContext(ctx, "request failed", "route", r.Pattern, "error", err)
		case fail.status >= http.StatusInternalServerError:
			// The operator is the one to whom the cause is of use.
			fail.message = err.Error()
			a.log.WarnContext(ctx, "request failed", "route", r.Pattern, "error", err)
		}
		writeAdminError(w, fail.status, fail.message)
	}
}

// readAdmin reads a JSON body strictly; no body is the empty one.
func readAdmin(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = errors.New("text after the JSON value")
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is larger than %d bytes", maxBody))
	}
	return refuse(http.StatusBadRequest, "", fmt.Sprintf("the body is not the JSON that is wanted: %.200s", err.Error()))
}

func writeAdminError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Error string `json:"error"`
	}{message})
}
