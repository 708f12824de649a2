package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/store"
)

// backendBook is which Nextclouds this node serves: those of its configuration
// file, and those that operators have added, which all nodes serve and which win.
// It meets api.Backends.
type backendBook struct {
	configured []backend.Instance
	registry   *backend.Registry
	cluster    backendDecisions
	sessions   func(store.BackendID) int
	log        *slog.Logger

	serving sync.Mutex // from what is decided to what is served: nothing older comes after it
}

// backendDecisions is met by cluster.Cluster.
type backendDecisions interface {
	Backends() []store.Backend
	Propose(context.Context, store.Command) (store.Result, error)
	Watch() (<-chan store.Event, func())
}

// Run follows what operators decide until ctx ends.
func (b *backendBook) Run(ctx context.Context) error {
	events, cancel := b.cluster.Watch()
	defer cancel()
	b.serve()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return nil
			}
			if e.Kind == store.EventBackendsChanged || e.Kind == store.EventRestored || e.Kind == store.EventLagged {
				b.serve()
			}
		}
	}
}

// serve makes the registry what is to be served.
func (b *backendBook) serve() {
	b.serving.Lock()
	defer b.serving.Unlock()
	var instances []backend.Instance
	for _, e := range b.entries() {
		instances = append(instances, e.instance)
	}
	if err := b.registry.Set(instances); err != nil {
		b.log.Error("the Nextclouds of the cluster are not served", "error", err)
	}
}

// backendEntry is one of them, by where it comes from.
type backendEntry struct {
	id       store.BackendID
	instance backend.Instance
	added    time.Time // zero: by the configuration file
}

func (b *backendBook) entries() []backendEntry {
	byID := make(map[store.BackendID]backendEntry)
	for _, in := range b.configured {
		if id, err := backend.IDOf(in.URL); err == nil {
			byID[id] = backendEntry{id: id, instance: in}
		}
	}
	for _, a := range b.cluster.Backends() {
		if id, err := backend.IDOf(a.URL); err == nil {
			byID[id] = backendEntry{id, backend.Instance{URL: a.URL, Secret: a.Secret, Limits: backend.Limits{
				Sessions: a.MaxSessions, MaxStreamBitrate: a.MaxVideoBitrate, MaxScreenBitrate: a.MaxScreenBitrate,
			}}, a.Added}
		}
	}
	var list []backendEntry
	for _, e := range byID {
		list = append(list, e)
	}
	slices.SortFunc(list, func(x, y backendEntry) int { return cmp.Compare(x.instance.URL, y.instance.URL) })
	return list
}

func (b *backendBook) find(id store.BackendID) (backendEntry, bool) {
	list := b.entries()
	i := slices.IndexFunc(list, func(e backendEntry) bool { return e.id == id })
	if i < 0 {
		return backendEntry{}, false
	}
	return list[i], true
}

// Backends are all that this node serves.
func (b *backendBook) Backends() []api.BackendView {
	list := []api.BackendView{}
	for _, e := range b.entries() {
		list = append(list, b.view(e))
	}
	return list
}

func (b *backendBook) view(e backendEntry) api.BackendView {
	most := e.instance.Limits
	v := api.BackendView{
		ID: string(e.id), URL: e.instance.URL, Source: api.BackendOfFile, Sessions: b.sessions(e.id),
		MaxSessions: most.Sessions, MaxVideoBitrate: most.MaxStreamBitrate, MaxScreenBitrate: most.MaxScreenBitrate,
	}
	if !e.added.IsZero() {
		v.Source, v.Added = api.BackendOfCluster, &e.added
	}
	return v
}

// PutBackend serves a Nextcloud on all nodes, or changes what is known of it.
// Without a secret one that is known keeps its own.
func (b *backendBook) PutBackend(ctx context.Context, n api.NewBackend) (api.BackendView, error) {
	normal, err := backend.Normalise(n.URL)
	if err != nil {
		return api.BackendView{}, fmt.Errorf("%w: url: %w", store.ErrInvalid, err)
	}
	id, err := backend.IDOf(normal)
	if err != nil {
		return api.BackendView{}, fmt.Errorf("%w: url: %w", store.ErrInvalid, err)
	}
	if n.Secret == "" {
		e, known := b.find(id)
		if !known {
			return api.BackendView{}, fmt.Errorf("%w: secret: wanted for a Nextcloud that is new; make one with: openssl rand -hex 32", store.ErrInvalid)
		}
		n.Secret = e.instance.Secret
	}
	if err := (config.Backend{URL: normal, Secret: n.Secret}).Validate(); err != nil {
		return api.BackendView{}, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	err = b.decide(ctx, store.NewPutBackend(time.Now(), store.Backend{
		URL: normal, Secret: n.Secret, MaxSessions: n.MaxSessions, MaxVideoBitrate: n.MaxVideoBitrate, MaxScreenBitrate: n.MaxScreenBitrate,
	}))
	if err != nil {
		return api.BackendView{}, err
	}
	b.serve()
	e, _ := b.find(id)
	return b.view(e), nil
}

// RemoveBackend serves a Nextcloud no more; who is in stays until they leave.
func (b *backendBook) RemoveBackend(ctx context.Context, id string) error {
	e, known := b.find(store.BackendID(id))
	switch {
	case !known:
		return api.ErrNoBackend
	case e.added.IsZero():
		return fmt.Errorf("%w: it is in the configuration file of this node, signaling.backends; take it out there, on every node", api.ErrRefused)
	}
	if err := b.decide(ctx, store.NewRemoveBackend(time.Now(), e.instance.URL)); err != nil {
		return err
	}
	b.serve()
	return nil
}

// decide lets the cluster decide, in words for operators.
func (b *backendBook) decide(ctx context.Context, c store.Command) error {
	if err := c.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	r, err := b.cluster.Propose(ctx, c)
	if err == nil {
		err = r.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrNotFound):
		return api.ErrNoBackend
	case errors.Is(err, store.ErrLimit):
		return fmt.Errorf("%w: there are %d already", api.ErrRefused, store.MaxBackends)
	case errors.Is(err, cluster.ErrUnsupported):
		return fmt.Errorf("%w: %w; bring all nodes up to one version first", api.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}
