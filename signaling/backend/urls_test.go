package backend_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
)

// TestSeveralURLs: an instance is one under all its URLs, and is asked at the one by
// which a client came. One that is dead is no reason to give up the others.
func TestSeveralURLs(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	user := nc.AddUser("alice", "Alice")
	const dead = "http://127.0.0.1:1/cloud"
	also := strings.Replace(nc.URL(), "127.0.0.1", "localhost", 1)
	in := nc.Instance()
	in.MoreURLs = []string{dead, also + "/"}
	registry, err := backend.NewRegistry([]backend.Instance{in})
	if err != nil {
		t.Fatal(err)
	}
	c, err := backend.NewClient(backend.Config{}, registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	id, err := backend.IDOf(nc.URL())
	if err != nil {
		t.Fatal(err)
	}
	if only, ok := registry.Only(); !ok || only != id || registry.Len() != 1 {
		t.Errorf("%d instances", registry.Len())
	}
	for url, via := range map[string]string{nc.AuthURL(): "", dead + "/index.php": dead, also + signalingtest.Endpoint: also, "https://other.example": ""} {
		if got := registry.Via(url); got != via {
			t.Errorf("%s is reached by %q, want %q", url, got, via)
		}
		if got, err := registry.Resolve(url); url != "https://other.example" && (err != nil || got != id) {
			t.Errorf("%s is %s, %v", url, got, err)
		}
	}
	if !registry.HasOrigin(also) || registry.URL(id, also) != also+"/" || registry.URL(id, "https://gone.example") != nc.URL()+"/" {
		t.Error("the second URL is not one of it")
	}
	h := http.Header{}
	backend.Sign(h, []byte("secret"), also+"/", []byte("body"))
	if got, err := registry.VerifyRequest(h, []byte("body")); err != nil || got != id {
		t.Errorf("sent by the second URL: %s, %v", got, err)
	}

	for range 3 { // so often that it is given up
		if _, err := c.Authenticate(t.Context(), id, dead, user); !errors.Is(err, backend.ErrUnreachable) {
			t.Errorf("by the dead URL: %v", err)
		}
	}
	for via, sent := range map[string]string{"": nc.URL() + "/", also: also + "/", "https://gone.example": nc.URL() + "/"} {
		before := len(nc.Questions())
		if _, err := c.Authenticate(t.Context(), id, via, user); err != nil {
			t.Fatalf("by %q: %v", via, err)
		}
		if got := nc.Questions()[before].Header.Get(backend.HeaderBackend); got != sent {
			t.Errorf("by %q: asked as %s", via, got)
		}
	}

	twice := []backend.Instance{in, {URL: "https://other.example", MoreURLs: []string{also}, Secret: "x"}}
	if err := registry.Set(twice); !errors.Is(err, backend.ErrConfig) {
		t.Errorf("one URL for two: %v", err)
	}
}
