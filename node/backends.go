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

func (e backendEntry) urls() []string {
	return append([]string{e.instance.URL}, e.instance.MoreURLs...)
}

// entries are all of them. A URL that operators have added is not of one in the file.
func (b *backendBook) entries() []backendEntry {
	var list []backendEntry
	taken := make(map[store.BackendID]bool) // by what the URLs would name
	add := func(in backend.Instance, added time.Time) {
		id, err := backend.IDOf(in.URL)
		if err != nil || taken[id] {
			return
		}
		taken[id] = true
		in.MoreURLs = slices.DeleteFunc(slices.Clone(in.MoreURLs), func(url string) bool {
			other, err := backend.IDOf(url)
			gone := err != nil || taken[other]
			taken[other] = true
			return gone
		})
		list = append(list, backendEntry{id, in, added})
	}
	for _, a := range b.cluster.Backends() {
		add(backend.Instance{URL: a.URL, MoreURLs: a.MoreURLs, Secret: a.Secret, Limits: backend.Limits{
			Sessions: a.MaxSessions, MaxStreamBitrate: a.MaxVideoBitrate, MaxScreenBitrate: a.MaxScreenBitrate,
		}}, a.Added)
	}
	for _, in := range b.configured {
		add(in, time.Time{})
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
		ID: string(e.id), URL: e.instance.URL, MoreURLs: e.instance.MoreURLs, Source: api.BackendOfFile, Sessions: b.sessions(e.id),
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
	urls, id, err := b.urlsOf(n)
	if err != nil {
		return api.BackendView{}, err
	}
	if n.Secret == "" {
		e, known := b.find(id)
		if !known {
			return api.BackendView{}, fmt.Errorf("%w: secret: wanted for a Nextcloud that is new; make one with: openssl rand -hex 32", store.ErrInvalid)
		}
		n.Secret = e.instance.Secret
	}
	if err := (config.Backend{
		URL: urls[0], MoreURLs: urls[1:], Secret: n.Secret,
		MaxSessions: n.MaxSessions, MaxVideoBitrate: n.MaxVideoBitrate, MaxScreenBitrate: n.MaxScreenBitrate,
	}).Validate(); err != nil {
		return api.BackendView{}, fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	err = b.decide(ctx, store.NewPutBackend(time.Now(), store.Backend{
		URL: urls[0], MoreURLs: urls[1:], Secret: n.Secret, MaxSessions: n.MaxSessions, MaxVideoBitrate: n.MaxVideoBitrate, MaxScreenBitrate: n.MaxScreenBitrate,
	}))
	if err != nil {
		return api.BackendView{}, err
	}
	b.serve()
	e, _ := b.find(id)
	return b.view(e), nil
}

// urlsOf are the URLs of a Nextcloud as all nodes write them, and the id that the first
// one gives it. None of them may be of another one, which would be torn apart.
func (b *backendBook) urlsOf(n api.NewBackend) (urls []string, id store.BackendID, err error) {
	if id, err = backend.IDOf(n.URL); err != nil {
		return nil, "", fmt.Errorf("%w: url: %w", store.ErrInvalid, err)
	}
	for _, text := range append([]string{n.URL}, n.MoreURLs...) {
		url, err := backend.Normalise(text)
		if err != nil {
			return nil, "", fmt.Errorf("%w: url: %w", store.ErrInvalid, err)
		}
		other, err := b.registry.Resolve(url)
		if err == nil && other != id && b.registry.URL(other, url) == url+"/" {
			return nil, "", fmt.Errorf("%w: url: %s is one of %s, which is served already", store.ErrInvalid, url, b.registry.URL(other, ""))
		}
		if !slices.Contains(urls, url) {
			urls = append(urls, url)
		}
	}
	return urls, id, nil
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
	case errors.Is(err, store.ErrExists):
		return fmt.Errorf("%w: another Nextcloud has one of these URLs", api.ErrRefused)
	case errors.Is(err, store.ErrLimit):
		return fmt.Errorf("%w: there are %d already", api.ErrRefused, store.MaxBackends)
	case errors.Is(err, cluster.ErrUnsupported):
		return fmt.Errorf("%w: %w; bring all nodes up to one version first", api.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
}
