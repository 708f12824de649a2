package forward

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/talkd/talkd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// servers are the other ends, by node; one that is not there cannot be reached.
type servers struct {
	mu    sync.Mutex // guards addrs
	addrs map[store.NodeID]string
	order []store.NodeID
	index uint64 // that the asking node has
}

// known is a server that knows c1 and has applied up to an index; 0: it knows
// nobody.
type known uint64

func (k known) Node(id store.NodeID) (store.Node, bool) {
	return store.Node{ID: id}, id == "c1" && k > 0
}

func (k known) Reached(ctx context.Context, index uint64) error {
	if uint64(k) < index {
		return context.DeadlineExceeded
	}
	return nil
}

func (s *servers) dial(ctx context.Context, id store.NodeID) (net.Conn, error) {
	s.mu.Lock()
	addr := s.addrs[id]
	s.mu.Unlock()
	if addr == "" {
		return nil, errors.New("dead")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

func (s *servers) serve(t *testing.T, id store.NodeID, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return WithCaller(ctx, "c1") }
	server.Start()
	t.Cleanup(server.Close)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addrs[id] = server.Listener.Addr().String()
	return server
}

func newServers(t *testing.T, order ...store.NodeID) (*servers, *Forwarder) {
	t.Helper()
	s := &servers{addrs: map[store.NodeID]string{}, order: order}
	index := func() uint64 { return s.index }
	f := New(Config{Servers: func() []store.NodeID { return s.order }, Dial: s.dial, Index: index, MaxBody: 64, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(f.Close)
	return s, f
}

func send(t *testing.T, h http.Handler, method, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://talk.example/ocs/x?y=1", strings.NewReader(body))
	r.RemoteAddr = "192.0.2.7:1234"
	r.Header.Set("Talkd-Client", "198.51.100.1:1") // what a client says of itself is not believed
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// What comes out at the server is what the client sent.
func TestRequestsArriveWhole(t *testing.T) {
	s, f := newServers(t, "s1")
	s.serve(t, "s1", Receive(known(1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		caller, _ := Caller(r.Context())
		if err != nil || string(body) != "text" || r.RemoteAddr != "192.0.2.7:1234" || r.Host != "talk.example" || caller != "c1" ||
			r.URL.RequestURI() != "/ocs/x?y=1" || r.Header.Get("Talkd-Client") != "" || r.Header.Get("Talkd-Index") != "" || r.Method != http.MethodPut {
			t.Errorf("%s %s of %s to %s by %s: %q %v %v", r.Method, r.URL, r.RemoteAddr, r.Host, caller, body, r.Header, err)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "done")
	})))
	if w := send(t, f, http.MethodPut, "text"); w.Code != http.StatusTeapot || w.Body.String() != "done" || w.Header().Get("X-Answer") != "yes" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
}

// Who is no member is answered nothing.
func TestOnlyMembersPassOn(t *testing.T) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was served") })
	s, f := newServers(t, "s1")
	s.serve(t, "s1", Receive(known(0), next))
	if w := send(t, f, http.MethodGet, ""); w.Code != http.StatusForbidden {
		t.Errorf("%d", w.Code)
	}
	if w := send(t, Receive(known(1), next), http.MethodGet, ""); w.Code != http.StatusForbidden {
		t.Errorf("not from a node: %d", w.Code)
	}
}

// A server that cannot be reached is passed over; the one that answered is
// asked again.
func TestNextServer(t *testing.T) {
	s, f := newServers(t, "s1", "s2", "s3")
	count := func(n *atomic.Int32) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); string(body) != "text" {
				t.Errorf("body %q", body)
			}
			n.Add(1)
		})
	}
	var second, third atomic.Int32
	if w := send(t, f, http.MethodPost, "text"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("without servers: %d", w.Code)
	}
	s.serve(t, "s3", count(&third))
	if w := send(t, f, http.MethodPost, "text"); w.Code != http.StatusOK || third.Load() != 1 || f.Current() != "s3" {
		t.Errorf("%d, third %d", w.Code, third.Load())
	}
	s.serve(t, "s2", count(&second))
	if send(t, f, http.MethodPost, "text"); third.Load() != 2 || second.Load() != 0 {
		t.Errorf("second %d, third %d", second.Load(), third.Load())
	}
	s.order = []store.NodeID{"s1", "s2"} // the third was removed
	if send(t, f, http.MethodPost, "text"); second.Load() != 1 || f.Current() != "s2" {
		t.Errorf("second %d, third %d", second.Load(), third.Load())
	}
}

// What may have been begun is not begun again; what is harmless is.
func TestRepeating(t *testing.T) {
	var begun atomic.Int32
	dies := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		begun.Add(1)
		panic(http.ErrAbortHandler)
	})
	answers := Answer(func(context.Context, int) string { return "yes" })
	s, f := newServers(t, "s1", "s2")
	s.serve(t, "s1", dies)
	s.serve(t, "s2", answers)
	if w := send(t, f, http.MethodPost, "1"); w.Code != http.StatusBadGateway || begun.Load() != 1 {
		t.Errorf("POST: %d, begun %d", w.Code, begun.Load())
	}
	if w := send(t, f, http.MethodGet, ""); w.Code == http.StatusBadGateway || f.Current() != "s2" {
		t.Errorf("GET: %d", w.Code)
	}
	f.answered("s1")
	var answer string
	if err := f.Ask(t.Context(), "/q", 1, &answer); err != nil || answer != "yes" {
		t.Errorf("a question: %q, %v", answer, err)
	}
	s.order = nil
	if err := f.Ask(t.Context(), "/q", 1, &answer); !errors.Is(err, ErrNoServer) {
		t.Errorf("a question to nobody: %v", err)
	}
	s.order = []store.NodeID{"s2"}
	if err := f.Ask(t.Context(), "/q", strings.Repeat("x", maxQuestion), &answer); !errors.Is(err, ErrNoServer) {
		t.Errorf("a question too long: %v", err)
	}
}

// A server that knows less than the asking node is passed over, body and all.
func TestServersThatAreBehind(t *testing.T) {
	s, f := newServers(t, "s1", "s2")
	s.index = 7
	answer := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
			_, _ = io.WriteString(w, name)
		})
	}
	s.serve(t, "s1", Receive(known(6), answer(" s1")))
	s.serve(t, "s2", Receive(known(7), answer(" s2")))
	if w := send(t, f, http.MethodPost, "text"); w.Code != http.StatusOK || w.Body.String() != "text s2" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	s.index = 8
	if w := send(t, f, http.MethodPost, "text"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("all are behind: %d", w.Code)
	}
	bare := httptest.NewRequestWithContext(WithCaller(t.Context(), "c1"), http.MethodGet, "http://talk.example/", nil)
	w := httptest.NewRecorder()
	if Receive(known(9), answer("")).ServeHTTP(w, bare); w.Code != http.StatusBadRequest {
		t.Errorf("without an index: %d", w.Code)
	}
}
