package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/store"
)

// decider decides by itself.
type decider struct {
	*store.View
	index  uint64
	refuse error
}

func (d *decider) Propose(_ context.Context, c store.Command) (store.Result, error) {
	if d.refuse != nil {
		return store.Result{}, d.refuse
	}
	b, err := c.Encode()
	if err != nil {
		return store.Result{}, err
	}
	d.index++
	_, err = d.Follow(store.Change{Index: d.index, Command: b})
	return store.Result{}, err
}

func (d *decider) Watch() (<-chan store.Event, func()) { return make(chan store.Event), func() {} }

func newBackendBook(t *testing.T, configured ...backend.Instance) (*backendBook, *decider) {
	t.Helper()
	registry, err := backend.NewRegistry(configured)
	if err != nil {
		t.Fatal(err)
	}
	d := &decider{View: store.NewView()}
	return &backendBook{
		configured: configured, registry: registry, cluster: d, sessions: func(store.BackendID) int { return 7 }, log: slog.New(slog.DiscardHandler),
	}, d
}

// TestBackendBook: what operators add is served beside what the file names, and
// wins over it.
func TestBackendBook(t *testing.T) {
	b, d := newBackendBook(t, backend.Instance{URL: "https://file.example", Secret: "of the file"})
	v, err := b.PutBackend(t.Context(), api.NewBackend{URL: "HTTPS://Cloud.example:443/nc/", Secret: "of the operator", MaxSessions: 5})
	if err != nil || v.URL != "https://cloud.example/nc" || v.Source != api.BackendOfCluster || v.MaxSessions != 5 || v.Added == nil || v.Sessions != 7 {
		t.Errorf("added: %+v, %v", v, err)
	}
	id, err := b.registry.Resolve("https://cloud.example/nc/index.php")
	if err != nil || string(id) != v.ID || b.registry.Limits(id).Sessions != 5 {
		t.Errorf("not served: %s, %v", id, err)
	}
	// Its limits change, its secret stays.
	if v, err = b.PutBackend(t.Context(), api.NewBackend{URL: "https://cloud.example/nc", MaxVideoBitrate: 400_000}); err != nil || v.MaxSessions != 0 || v.MaxVideoBitrate != 400_000 {
		t.Errorf("changed: %+v, %v", v, err)
	}
	if got := d.Backends(); len(got) != 1 || got[0].Secret != "of the operator" {
		t.Errorf("kept: %d", len(got))
	}
	file := b.Backends()[1]
	if file.Source != api.BackendOfFile || file.URL != "https://file.example" {
		t.Errorf("of the file: %+v", file)
	}
	if err := b.RemoveBackend(t.Context(), file.ID); !errors.Is(err, api.ErrRefused) || !strings.Contains(err.Error(), "signaling.backends") {
		t.Errorf("removed from the file: %v", err)
	}
	if _, err := b.PutBackend(t.Context(), api.NewBackend{URL: "https://file.example", Secret: "a newer secret"}); err != nil || b.Backends()[1].Source != api.BackendOfCluster {
		t.Errorf("over the file: %v", err)
	}
	if err := b.RemoveBackend(t.Context(), file.ID); err != nil || b.Backends()[1].Source != api.BackendOfFile {
		t.Errorf("back to the file: %v", err)
	}
	if err := b.RemoveBackend(t.Context(), v.ID); err != nil || b.registry.Len() != 1 {
		t.Errorf("removed: %v", err)
	}
	if err := b.RemoveBackend(t.Context(), v.ID); !errors.Is(err, api.ErrNoBackend) {
		t.Errorf("removed twice: %v", err)
	}
}

// TestBackendBookURLs: a Nextcloud of several URLs is one, with those that were named
// last, and none of them is of another one.
func TestBackendBookURLs(t *testing.T) {
	b, _ := newBackendBook(t, backend.Instance{URL: "https://file.example", MoreURLs: []string{"https://file.example.net"}, Secret: "of the file"})
	put := func(urls ...string) (api.BackendView, error) {
		return b.PutBackend(t.Context(), api.NewBackend{URL: urls[0], MoreURLs: urls[1:], Secret: "of the operator"})
	}
	v, err := put("https://cloud.example", "https://Cloud.example.net/", "https://cloud.example")
	if err != nil || !slices.Equal(v.MoreURLs, []string{"https://cloud.example.net"}) {
		t.Fatalf("added: %+v, %v", v, err)
	}
	if id, err := b.registry.Resolve("https://cloud.example.net/index.php"); err != nil || string(id) != v.ID {
		t.Errorf("by the second URL: %s, %v", id, err)
	}
	for _, urls := range [][]string{
		{"https://cloud.example.net"}, {"https://other.example", "https://cloud.example"}, {"https://file.example.net"}, {"https://cloud.example", "http://plain.example"},
	} {
		if _, err := put(urls...); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%v: %v", urls, err)
		}
	}
	if v, err = put("https://cloud.example"); err != nil || len(v.MoreURLs) != 0 {
		t.Errorf("with one again: %+v, %v", v, err)
	}
	if _, err := put("https://file.example", "https://file.example.org"); err != nil {
		t.Error(err)
	}
	if _, err := b.registry.Resolve("https://file.example.net"); err == nil {
		t.Error("a URL of the file alone is served")
	}
}

// TestBackendBookApart: what the file of a node says of a URL that operators have added
// for all nodes does not count, whichever came first.
func TestBackendBookApart(t *testing.T) {
	b, d := newBackendBook(t,
		backend.Instance{URL: "https://one.example", MoreURLs: []string{"https://both.example"}, Secret: "1"},
		backend.Instance{URL: "https://two.example", Secret: "2"})
	_, err := d.Propose(t.Context(), store.NewPutBackend(time.Now(), store.Backend{
		URL: "https://both.example", MoreURLs: []string{"https://two.example"}, Secret: "3",
	}))
	if err != nil {
		t.Fatal(err)
	}
	b.serve()
	want, _ := backend.IDOf("https://both.example")
	for _, url := range []string{"https://both.example", "https://two.example"} {
		if id, err := b.registry.Resolve(url); err != nil || id != want {
			t.Errorf("%s is %s, %v", url, id, err)
		}
	}
	if b.registry.Len() != 2 {
		t.Errorf("%d are served", b.registry.Len())
	}
}

func TestBackendBookRefuses(t *testing.T) {
	b, d := newBackendBook(t)
	for name, c := range map[string]struct {
		of    api.NewBackend
		words string // of who is refused
	}{
		"no URL":     {api.NewBackend{Secret: "abcdef"}, "invalid value: url: it has 0 characters; 1 to 2048 are right"},
		"no scheme":  {api.NewBackend{URL: "cloud.example", Secret: "abcdef"}, "invalid value: url: the URL of a Nextcloud is the scheme https, a host and perhaps a path, no more"},
		"plain HTTP": {api.NewBackend{URL: "http://cloud.example", Secret: "abcdef"}, "invalid value: url: plain HTTP is for loopback only; use https"},
		"no secret":  {api.NewBackend{URL: "https://cloud.example"}, "invalid value: secret: wanted for a Nextcloud that is new; make one with: openssl rand -hex 32"},
		"a sample":   {api.NewBackend{URL: "https://cloud.example", Secret: "the-shared-secret"}, "invalid value: secret: a sample value; make one with: openssl rand -hex 32, and enter it in Nextcloud too"},
		"below zero": {api.NewBackend{URL: "https://cloud.example", Secret: "abcdef", MaxSessions: -1}, "invalid value: a limit is less than nothing; 0 is no limit"},
	} {
		if _, err := b.PutBackend(t.Context(), c.of); !errors.Is(err, store.ErrInvalid) || err.Error() != c.words {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := api.NewBackend{URL: "https://cloud.example", Secret: "abcdef"}
	for refuse, want := range map[error]error{cluster.ErrNoLeader: api.ErrUnavailable, cluster.ErrUnsupported: api.ErrRefused, store.ErrLimit: api.ErrRefused} {
		d.refuse = refuse
		if _, err := b.PutBackend(t.Context(), good); !errors.Is(err, want) {
			t.Errorf("%v: %v", refuse, err)
		}
	}
}

// asked calls back when it is asked what is decided.
type asked struct {
	*decider
	back func()
}

func (a asked) Backends() []store.Backend {
	a.back()
	return a.decider.Backends()
}

// TestBackendBookInOrder: while what is decided becomes what is served nobody else does
// the same, who could be overtaken by it.
func TestBackendBookInOrder(t *testing.T) {
	b, d := newBackendBook(t)
	times := 0
	b.cluster = asked{d, func() {
		if times++; b.serving.TryLock() {
			t.Error("two at once")
		}
	}}
	if b.serve(); times != 1 {
		t.Errorf("asked %d times", times)
	}
}

// TestBackendsBeforeDoors: what operators have added is served when the public listener
// begins, however far those are who follow the changes.
func TestBackendsBeforeDoors(t *testing.T) {
	b, d := newBackendBook(t)
	add := store.NewPutBackend(time.Now(), store.Backend{URL: "https://cloud.example", Secret: "of the operator"})
	if _, err := d.Propose(t.Context(), add); err != nil {
		t.Fatal(err)
	}
	if err := (&Node{nextclouds: b}).prepareDoors(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.registry.Resolve("https://cloud.example"); err != nil {
		t.Error(err)
	}
}
