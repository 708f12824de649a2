package backend_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

func newClient(t *testing.T, cfg backend.Config, in backend.Instance) (*backend.Client, store.BackendID) {
	t.Helper()
	r, err := backend.NewRegistry([]backend.Instance{in})
	if err != nil {
		t.Fatal(err)
	}
	c, err := backend.NewClient(cfg, r, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	id, err := c.Resolve(in.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c, id
}

func TestAuthenticate(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	user, guest := nc.AddUser("alice", "Alice"), nc.AddGuest("g")
	c, id := newClient(t, backend.Config{Features: []string{"mcu", "simulcast"}}, nc.Instance())

	got, err := c.Authenticate(t.Context(), id, "", user)
	if err != nil || got.UserID != "alice" || string(got.User) != `{"displayname":"Alice"}` {
		t.Errorf("user: %+v, %v", got, err)
	}
	got, err = c.Authenticate(t.Context(), id, "", guest)
	if err != nil || got.UserID != "" || got.User != nil {
		t.Errorf("guest: %+v, %v", got, err)
	}
	_, err = c.Authenticate(t.Context(), id, "", json.RawMessage(`{"userid":"alice","ticket":"wrong"}`))
	if e := wire.ErrorFor(err); e.Code != wire.CodeInvalidTicket || !errors.Is(err, wire.ErrInvalidTicket) {
		t.Errorf("wrong ticket: %v", err)
	}
	h := nc.Questions()[0].Header
	if h.Get(backend.HeaderFeatures) != "mcu, simulcast" || h.Get(backend.HeaderBackend) != nc.URL()+"/" || len(h.Get(backend.HeaderRandom)) != 64 {
		t.Errorf("headers %v", h)
	}
	if string(nc.Questions()[0].Params) != string(user) {
		t.Errorf("params %s", nc.Questions()[0].Params)
	}
}

func TestAuthenticateWithAnotherSecret(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{}, backend.Instance{URL: nc.URL(), Secret: "other"})
	_, err := c.Authenticate(t.Context(), id, "", nc.AddUser("alice", "Alice"))
	if !errors.Is(err, wire.ErrInvalidRequest) {
		t.Errorf("Authenticate: %v", err)
	}
}

func TestRooms(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	nc.SetRoom("team", signalingtest.Room{
		Properties:         json.RawMessage(`{"name":"Team"}`),
		Users:              []string{"alice", "bob"},
		SessionPermissions: map[wire.RoomSessionID][]string{"mute": {}, "loud": {backend.PermissionPublishAudio}},
		Sessions:           map[wire.RoomSessionID]json.RawMessage{"loud": json.RawMessage(`{"displayname":"Bob"}`), "mute": json.RawMessage(`[]`)},
	})
	c, id := newClient(t, backend.Config{}, nc.Instance())
	room := store.RoomID{Backend: id, Name: "team"}

	got, err := c.JoinRoom(t.Context(), backend.RoomRequest{Room: room, UserID: "alice", SessionID: "s"})
	if err != nil || got.RoomID != "team" || string(got.Properties) != `{"name":"Team"}` || got.Permissions != nil {
		t.Errorf("join: %+v, %v", got, err)
	}
	got, err = c.JoinRoom(t.Context(), backend.RoomRequest{Room: room, UserID: "alice", SessionID: "mute"})
	if err != nil || got.Permissions == nil || len(got.Permissions) != 0 || got.Session != nil {
		t.Errorf("join without permissions: %+v, %v", got, err)
	}
	got, err = c.JoinRoom(t.Context(), backend.RoomRequest{Room: room, UserID: "bob", SessionID: "loud"})
	if err != nil || len(got.Permissions) != 1 || got.Permissions[0] != backend.PermissionPublishAudio || string(got.Session) != `{"displayname":"Bob"}` {
		t.Errorf("join with a permission: %+v, %v", got, err)
	}
	_, err = c.JoinRoom(t.Context(), backend.RoomRequest{Room: room, UserID: "eve", SessionID: "s"})
	if !errors.Is(err, wire.ErrNoSuchRoom) {
		t.Errorf("join of somebody else: %v", err)
	}
	_, err = c.JoinRoom(t.Context(), backend.RoomRequest{Room: store.RoomID{Backend: id, Name: "none"}, UserID: "alice", SessionID: "s"})
	if !errors.Is(err, wire.ErrNoSuchRoom) {
		t.Errorf("join of no room: %v", err)
	}
	if err := c.LeaveRoom(t.Context(), backend.RoomRequest{Room: room, UserID: "alice", SessionID: "s"}); err != nil {
		t.Errorf("leave: %v", err)
	}
	nc.ExpectLeave("team", "s")
	_, err = c.JoinRoom(t.Context(), backend.RoomRequest{Room: store.RoomID{Backend: "nobody", Name: "team"}})
	if !errors.Is(err, wire.ErrInvalidBackend) || !errors.Is(err, backend.ErrUnknownBackend) {
		t.Errorf("join at no instance: %v", err)
	}
}

func TestPingInParts(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{}, nc.Instance())
	entries := make([]backend.PingEntry, 450)
	for i := range entries {
		entries[i].SessionID = wire.RoomSessionID(strconv.Itoa(i))
	}
	if err := c.Ping(t.Context(), store.RoomID{Backend: id, Name: "team"}, "", entries); err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, q := range nc.Questions() {
		if q.Kind != "ping" || q.RoomID != "team" || len(q.Entries) > 200 {
			t.Errorf("question %+v", q)
		}
		for _, e := range q.Entries {
			if string(e.SessionID) != strconv.Itoa(told) {
				t.Fatalf("entry %d is %s", told, e.SessionID)
			}
			told++
		}
	}
	if told != len(entries) {
		t.Errorf("%d entries told", told)
	}
	nc.Refuse("ping", wire.CodeNoSuchRoom)
	if err := c.Ping(t.Context(), store.RoomID{Backend: id, Name: "team"}, "", entries[:1]); !errors.Is(err, wire.ErrNoSuchRoom) {
		t.Errorf("refused: %v", err)
	}
	if err := c.Ping(t.Context(), store.RoomID{Backend: id, Name: "team"}, "", nil); err != nil {
		t.Errorf("nobody to tell: %v", err)
	}
}

func ocs(data string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"ocs":{"meta":{"statuscode":200},"data":`+data+`}}`)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func TestOddAnswers(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{MaxResponse: 4096}, nc.Instance())
	for _, test := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		code   wire.Code
	}{
		{"nothing", status(200, ""), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"a page", status(200, "<html>"), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"no envelope", status(200, `{"type":"auth"}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"an empty envelope", status(200, `{"ocs":{}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"a list", ocs(`[]`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"another kind", ocs(`{"type":"room","room":{}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"no auth", ocs(`{"type":"auth"}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"user id of a wrong type", ocs(`{"type":"auth","auth":{"userid":{}}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"user id too long", ocs(`{"type":"auth","auth":{"userid":"` + strings.Repeat("u", 600) + `"}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"too deep", ocs(`{"type":"auth","auth":{"user":{"a":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"not UTF-8", ocs("{\"type\":\"auth\",\"auth\":{\"user\":{\"a\":\"\xff\"}}}"), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"too large", ocs(`{"type":"auth","auth":{"user":{"a":"` + strings.Repeat("a", 4096) + `"}}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"maintenance", status(503, `{"ocs":{"data":[]}}`), backend.ErrUnreachable, wire.CodeAuthFailed},
		{"another status", status(201, `{"ocs":{"data":{"type":"auth","auth":{}}}}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"a refusal with another status", status(403, `{"ocs":{"data":{"type":"error","error":{"code":"no_such_user","message":"m"}}}}`), wire.ErrNoSuchUser, wire.CodeNoSuchUser},
		{"a refusal without body", ocs(`{"type":"error"}`), backend.ErrBadResponse, wire.CodeAuthFailed},
		{"a refusal with a code of its own", ocs(`{"type":"error","error":{"code":"unknown_type","message":"m"}}`), nil, "unknown_type"},
		{"a refusal with no code", ocs(`{"type":"error","error":{"code":"<script>","message":"m"}}`), wire.ErrAuthFailed, wire.CodeAuthFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			nc.Break(test.answer)
			_, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`))
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("Authenticate: %v, want %v", err, test.want)
			}
			if e := wire.ErrorFor(err); e.Code != test.code {
				t.Errorf("code %s, want %s", e.Code, test.code)
			}
		})
	}
	nc.Break(ocs(`{"type":"auth","auth":{"userid":null,"user":[]}}`))
	if got, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`)); err != nil || got.UserID != "" || got.User != nil {
		t.Errorf("PHP's empty object: %+v, %v", got, err)
	}
	nc.Break(ocs(`{"type":"room","room":{"version":"1.0","roomid":"other"}}`))
	if _, err := c.JoinRoom(t.Context(), backend.RoomRequest{Room: store.RoomID{Backend: id, Name: "team"}}); !errors.Is(err, wire.ErrRoomJoinFailed) {
		t.Errorf("another room: %v", err)
	}
}

// TestNoRedirect: an instance, or who speaks for it, cannot send a request with
// our signature elsewhere (checklist S20).
func TestNoRedirect(t *testing.T) {
	visited := make(chan struct{}, 1)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited <- struct{}{} }))
	defer other.Close()
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{}, nc.Instance())
	for _, code := range []int{301, 302, 303, 307, 308} {
		nc.Break(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, code) }))
		if _, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`)); !errors.Is(err, backend.ErrBadResponse) {
			t.Errorf("status %d: %v", code, err)
		}
	}
	select {
	case <-visited:
		t.Error("a redirect was followed")
	default:
	}
}

// TestEndlessAnswer: an answer of any length costs no more than the limit.
func TestEndlessAnswer(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{MaxResponse: 1 << 16}, nc.Instance())
	stopped := make(chan struct{})
	nc.Break(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		defer close(stopped)
		for {
			if _, err := io.WriteString(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
	}))
	if _, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`)); !errors.Is(err, backend.ErrBadResponse) {
		t.Errorf("Authenticate: %v", err)
	}
	<-stopped
}

func TestHangingInstance(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, id := newClient(t, backend.Config{Timeout: 20 * time.Millisecond}, nc.Instance())
	nc.Break(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server sees the end of the connection only then
		<-r.Context().Done()
	}))
	_, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`))
	if !errors.Is(err, backend.ErrUnreachable) || wire.ErrorFor(err).Code != wire.CodeAuthFailed {
		t.Errorf("Authenticate: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Authenticate(ctx, id, "", json.RawMessage(`{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestPlainHTTPStaysOnLoopback(t *testing.T) {
	// The name is allowed by the registry, so only what it leads to can tell.
	if err := backend.OnlyLoopback("192.0.2.1:80"); err == nil {
		t.Error("an address beyond loopback was dialled")
	}
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"} {
		if err := backend.OnlyLoopback(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(ocs(`{"type":"auth","auth":{"userid":"alice"}}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // the failed handshake below
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, id := newClient(t, backend.Config{RootCAs: roots}, backend.Instance{URL: server.URL, Secret: "s"})
	if got, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`)); err != nil || got.UserID != "alice" {
		t.Errorf("known authority: %+v, %v", got, err)
	}
	c, id = newClient(t, backend.Config{}, backend.Instance{URL: server.URL, Secret: "s"})
	if _, err := c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`)); !errors.Is(err, backend.ErrUnreachable) {
		t.Errorf("unknown authority: %v", err)
	}
}

func TestResolveOfClient(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	c, _ := newClient(t, backend.Config{}, nc.Instance())
	if _, err := c.Resolve(nc.AuthURL()); err != nil {
		t.Errorf("the URL of a hello: %v", err)
	}
	_, err := c.Resolve("https://evil.example/")
	if wire.ErrorFor(err).Code != wire.CodeInvalidBackend {
		t.Errorf("another URL: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	nc := signalingtest.NewNextcloud(t, "secret")
	reg := prometheus.NewRegistry()
	r, err := backend.NewRegistry([]backend.Instance{nc.Instance()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := backend.NewClient(backend.Config{}, r, reg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := c.Resolve(nc.URL())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authenticate(t.Context(), id, "", nc.AddUser("a", "A")); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`))
	nc.Break(status(500, ""))
	_, _ = c.Authenticate(t.Context(), id, "", json.RawMessage(`{}`))
	families, err := reg.Gather()
	if err != nil || len(families) != 5 {
		t.Fatalf("metrics %v, %v", families, err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); f.GetName() == "talkd_backend_request_seconds" && n != 3 {
			t.Errorf("%d series, want one for each result", n)
		}
	}
	if _, err := backend.NewClient(backend.Config{}, r, reg); err == nil {
		t.Error("registered twice without an error")
	}
}
