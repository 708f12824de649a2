package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/signaling/backend"
)

func idOf(url string) string {
	id, _ := backend.IDOf(url)
	return string(id)
}

// backends meets api.Backends. It keeps what it was told.
type backends struct{ put []api.NewBackend }

func (b *backends) Backends() []api.BackendView {
	list := []api.BackendView{}
	for _, n := range b.put {
		list = append(list, api.BackendView{
			ID: idOf(n.URL), URL: n.URL, MoreURLs: n.MoreURLs, Source: api.BackendOfCluster, Sessions: 3, MaxSessions: n.MaxSessions,
		})
	}
	return list
}

func (b *backends) PutBackend(_ context.Context, n api.NewBackend) (api.BackendView, error) {
	b.put = append(slices.DeleteFunc(b.put, func(old api.NewBackend) bool { return old.URL == n.URL }), n)
	return b.Backends()[len(b.put)-1], nil
}

func (b *backends) RemoveBackend(_ context.Context, id string) error {
	n := len(b.put)
	b.put = slices.DeleteFunc(b.put, func(old api.NewBackend) bool { return idOf(old.URL) == id })
	if len(b.put) == n {
		return api.ErrNoBackend
	}
	return nil
}

// A Nextcloud that is new gets a secret, which is shown once; one that is known
// keeps its own.
func TestBackends(t *testing.T) {
	f := new(facts)
	serveAdmin(t, f)
	code, out, log := talkd(t, "backend", "add", "https://cloud.example", "--max-sessions", "50")
	secret := regexp.MustCompile(`(?m)^[0-9a-f]{64}$`).FindString(out)
	if code != exitDone || secret == "" || len(f.backends.put) != 1 || f.backends.put[0].Secret != secret || f.backends.put[0].MaxSessions != 50 {
		t.Fatalf("exit %d: %s%s", code, out, log)
	}
	if code, out, _ := talkd(t, "backend", "add", "https://cloud.example", "--max-sessions", "60"); code != exitDone || f.backends.put[0].Secret != "" || strings.Contains(out, "secret") {
		t.Errorf("changed: exit %d: %s", code, out)
	}
	// Also if it is written otherwise: another secret would lock its people out.
	for _, same := range []string{"https://cloud.example/", "https://Cloud.Example:443"} {
		if code, out, log := talkd(t, "backend", "add", same); code != exitDone || f.backends.put[len(f.backends.put)-1].Secret != "" || strings.Contains(out, "secret") {
			t.Errorf("%s: exit %d: %s%s", same, code, out, log)
		}
		f.backends.put = f.backends.put[:1]
	}
	if code, out, _ := talkd(t, "backend", "add", "https://json.example", "--json"); code != exitDone || !strings.Contains(out, f.backends.put[1].Secret) {
		t.Errorf("as JSON: exit %d: %s", code, out)
	}
	f.backends.put = f.backends.put[:1]
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := talkd(t, "backend", "add", "https://other.example", "--secret-file", file); code != exitDone || f.backends.put[1].Secret != "of a file" || strings.Contains(out, "of a file") {
		t.Errorf("from a file: exit %d: %s", code, out)
	}
	if code, out, _ := talkd(t, "backend", "list"); code != exitDone || !regexp.MustCompile(`https://cloud.example +`+idOf("https://cloud.example")+` +cluster +3 +60 +-`).MatchString(out) {
		t.Errorf("list: exit %d: %s", code, out)
	}
	if code, out, _ := talkd(t, "backend", "add", "https://cloud.example,https://cloud.example.net"); code != exitDone || !slices.Equal(f.backends.put[1].MoreURLs, []string{"https://cloud.example.net"}) || f.backends.put[1].Secret != "" {
		t.Errorf("two URLs: exit %d: %s", code, out)
	}
	if code, out, _ := talkd(t, "backend", "list"); code != exitDone || !strings.Contains(out, "https://cloud.example,https://cloud.example.net ") {
		t.Errorf("list: exit %d: %s", code, out)
	}
	if code, out, log := talkd(t, "backend", "remove", "https://cloud.example/"); code != exitDone || len(f.backends.put) != 1 {
		t.Errorf("remove: exit %d: %s%s", code, out, log)
	}
	if code, _, log := talkd(t, "backend", "remove", "https://cloud.example"); code != exitFailed || !strings.Contains(log, "talkd backend list") {
		t.Errorf("removed twice: exit %d: %s", code, log)
	}
	for _, args := range []string{"backend", "backend add", "backend remove", "backend change https://a.example", "backend list more"} {
		if code, _, _ := talkd(t, strings.Fields(args)...); code != exitUsage {
			t.Errorf("%s: exit %d", args, code)
		}
	}
}
