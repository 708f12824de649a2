package api

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Backends are the Nextclouds that are served. PutBackend adds one for the whole
// cluster, or changes it; store.ErrInvalid says what is wrong with it.
type Backends interface {
	Backends() []BackendView
	PutBackend(ctx context.Context, b NewBackend) (BackendView, error)
	RemoveBackend(ctx context.Context, id string) error
}

// ErrNoBackend means that no such Nextcloud is served.
var ErrNoBackend = errors.New("no such backend")

// Where a Nextcloud is named.
const (
	BackendOfFile    = "file"    // the configuration of the node that answers
	BackendOfCluster = "cluster" // added by an operator, for all nodes
)

// BackendView is a Nextcloud, without its secret. Limits of 0 are none of its own.
type BackendView struct {
	ID               string     `json:"id"`
	URL              string     `json:"url"`
	MoreURLs         []string   `json:"more_urls,omitempty"` // under which it is reached as well
	Source           string     `json:"source"`
	Sessions         int        `json:"sessions"` // in the cluster
	MaxSessions      int        `json:"max_sessions"`
	MaxVideoBitrate  int        `json:"max_video_bitrate"`
	MaxScreenBitrate int        `json:"max_screen_bitrate"`
	Added            *time.Time `json:"added,omitempty"`
}

// NewBackend is a Nextcloud that is to be served. Without a Secret one that is
// known keeps its own.
type NewBackend struct {
	URL              string   `json:"url"`
	MoreURLs         []string `json:"more_urls"`
	Secret           string   `json:"secret"`
	MaxSessions      int      `json:"max_sessions"`
	MaxVideoBitrate  int      `json:"max_video_bitrate"`
	MaxScreenBitrate int      `json:"max_screen_bitrate"`
}

func (a *Admin) listBackends(*http.Request) (any, error) {
	return struct {
		Backends []BackendView `json:"backends"`
	}{a.deps.Backends.Backends()}, nil
}

func (a *Admin) putBackend(r *http.Request) (any, error) {
	var body NewBackend
	if err := readAdmin(r, &body); err != nil {
		return nil, err
	}
	v, err := a.deps.Backends.PutBackend(r.Context(), body)
	if err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "Nextcloud added or changed", "url", v.URL)
	return v, nil
}

func (a *Admin) removeBackend(r *http.Request) (any, error) {
	if err := readAdmin(r, &struct{}{}); err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	if err := a.deps.Backends.RemoveBackend(r.Context(), id); err != nil {
		return nil, err
	}
	a.log.InfoContext(r.Context(), "Nextcloud removed", "key", id)
	return struct {
		ID string `json:"id"`
	}{id}, nil
}
