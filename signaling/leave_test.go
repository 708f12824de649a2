package signaling

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/store"
)

// TestLeavesHoldNobodyUp: as many as may be asked at once wait for a Nextcloud that does
// not answer, to be told who left. Other questions go out all the same.
func TestLeavesHoldNobodyUp(t *testing.T) {
	name := regexp.MustCompile(`"sessionid":"[^"]*"`)
	var mu sync.Mutex
	told, all := make(map[string]bool), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is nobody's name
		defer w.WriteHeader(http.StatusServiceUnavailable)
		mu.Lock()
		defer mu.Unlock()
		before := len(told)
		told[name.FindString(string(body))] = true
		if before < callbacksAtOnce && len(told) == callbacksAtOnce {
			close(all)
		}
	}))
	t.Cleanup(server.Close)
	registry, err := backend.NewRegistry([]backend.Instance{{URL: server.URL, Secret: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	client, err := backend.NewClient(backend.Config{}, registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	h, err := NewHub(Config{}, Deps{
		Self: "n1", Engine: alone{}, Places: alone{}, Nodes: alone{}, Peers: alone{}, Guesses: alone{}, Backends: client, Registry: registry,
		Seal: func(string) Sealer { return alone{} }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.shutdown)
	of, err := registry.Resolve(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for i := range callbacksAtOnce {
		h.tellLeft(store.RoomID{Backend: of, Name: "room"}, &signalpb.Member{Session: itoa(int32(i)), RoomSession: "nc" + itoa(int32(i))})
	}
	<-all
	asked := make(chan struct{})
	h.callback(of, func(context.Context) error { close(asked); return nil })
	select {
	case <-asked:
	case <-time.After(10 * time.Second):
		t.Error("not asked")
	}
}
