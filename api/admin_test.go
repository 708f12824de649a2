package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/store"
)

const (
	operateToken = "operate-operate-operate"
	viewToken    = "view-view-view-view-view"
)

// facts are a small cluster.
type facts struct {
	ready  bool
	token  error // of CreateJoinToken
	ttl    time.Duration
	users  []NewUser
	past   []AdminEvent
	events chan AdminEvent
	open   int      // subscriptions
	orders []string // operations
	refuse error    // of an operation
	query  store.RoomsQuery

	mu       sync.Mutex // guards sessions
	sessions int
}

func (f *facts) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *facts) Cluster(context.Context) ClusterView {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ClusterView{ClusterID: "c1", Leader: "n1", Term: 3, CommitIndex: 9, AppliedIndex: 8, Quorum: true, Voters: 1, VotersAlive: 1, Rooms: 2, Sessions: f.sessions, Headroom: 9, Version: "1.0", Nodes: []NodeView{{
		ID: "n1", URL: "http://n1", Region: "eu", Version: "1.0", Raft: "voter", State: "alive", TakesRooms: true, UptimeS: 12.5,
		Load:     LoadView{CPU: .25, EgressBps: 1, IngressBps: 2, EgressPps: 3, Sessions: 4, Publishers: 5, Subscribers: 6, Rooms: 7, Headroom: 9, Score: .5},
		Capacity: Capacity{Sessions: 100},
	}}}
}

func (f *facts) Rooms(_ context.Context, q store.RoomsQuery) RoomsPage {
	f.query = q
	rooms := []RoomView{
		{ID: "room2", Home: "n1", Epoch: 2, Reason: "drain", Created: t0, Edges: []EdgeView{{"n1", 2, 1, 1}}, Relays: []RelayView{{"n1", "n2", 2, 5e5, 3}}},
		{ID: "nc~room1", Backend: "nc", Home: "n1", Epoch: 1, Created: t0.In(time.FixedZone("", 3600))},
	}
	if q.Limit == 1 {
		return RoomsPage{Rooms: rooms[:1], Total: 2, Next: cursor}
	}
	return RoomsPage{Rooms: rooms, Total: 2}
}

var cursor = store.RoomsCursor{Room: store.RoomID{Name: "room2"}, Created: t0}

func (f *facts) Room(ctx context.Context, id store.RoomID) (RoomView, bool) {
	for _, r := range f.Rooms(ctx, store.RoomsQuery{}).Rooms {
		if r.ID == id.String() {
			return r, true
		}
	}
	return RoomView{}, false
}

func (f *facts) Subscribe() ([]AdminEvent, <-chan AdminEvent, func()) {
	f.open++
	return f.past, f.events, func() { f.open-- }
}

func (f *facts) order(format string, args ...any) (string, error) {
	if f.refuse != nil {
		return "", f.refuse
	}
	f.orders = append(f.orders, fmt.Sprintf(format, args...))
	return "n1-op", nil
}

func (f *facts) Drain(_ context.Context, node store.NodeID, on bool) (string, error) {
	return f.order("drain %s %t", node, on)
}
func (f *facts) Remove(_ context.Context, node store.NodeID) (string, error) {
	return f.order("remove %s", node)
}
func (f *facts) Move(_ context.Context, room store.RoomID, to store.NodeID) (string, error) {
	return f.order("move %s to %s", room, to)
}
func (f *facts) Rotate(_ context.Context, key store.KeyKind) (string, error) {
	return f.order("rotate %s", key)
}

func (f *facts) Backends() []BackendView {
	return []BackendView{{ID: "abc", URL: "https://cloud.example", Source: BackendOfFile, MaxSessions: 10}}
}

func (f *facts) PutBackend(_ context.Context, b NewBackend) (BackendView, error) {
	if b.URL == "" {
		return BackendView{}, fmt.Errorf("%w: url", store.ErrInvalid)
	}
	return BackendView{ID: "def", URL: b.URL, Source: BackendOfCluster}, nil
}

func (f *facts) RemoveBackend(_ context.Context, id string) error {
	if id != "def" {
		return ErrNoBackend
	}
	return nil
}

func (f *facts) CreateJoinToken(_ context.Context, ttl time.Duration) (string, string, error) {
	f.ttl = ttl
	return "join", "talkd serve --join-token join", f.token
}

func (f *facts) CreateUser(_ context.Context, u NewUser) error {
	switch {
	case u.ID == "ada":
		return store.ErrExists
	case u.Password == "":
		return ErrWeakPassword
	}
	f.users = append(f.users, u)
	return nil
}

func (f *facts) ListUsers(_ context.Context, search string) ([]store.User, error) {
	if search == "broken" {
		return nil, errors.New("disk is gone")
	}
	return []store.User{{ID: "ada", DisplayName: "Ada", PasswordHash: "secret-hash", Admin: true, Created: t0}}, nil
}

func newAdmin(t testing.TB, change ...func(*AdminDeps)) (*Admin, *facts) {
	t.Helper()
	f := &facts{ready: true, sessions: 4, events: make(chan AdminEvent)}
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "talkd_test", Help: "A gauge."}))
	deps := AdminDeps{
		Cluster: f, Rooms: f, Events: f, Tokens: f, Users: f, Backends: f, Operations: f, Doctor: f, Ready: func() bool { return f.ready }, Gatherer: reg,
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&deps)
	}
	a, err := NewAdmin(AdminConfig{OperateToken: operateToken, ViewToken: viewToken}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return a, f
}

func ask(t testing.TB, a *Admin, method, path, token, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	return w
}

// concrete is a path that the route serves.
func (r adminRoute) concrete() string {
	return strings.NewReplacer("{$}", "", "{id}", "n1", "{key}", "ca", "{profile...}", "cmdline").Replace(r.path)
}

func TestAdminWantsAToken(t *testing.T) {
	a, _ := newAdmin(t)
	paths := []string{"/nothing", "/admin/v1", "/admin/v1/nodes/n1/drain", "//metrics", "/healthz/", "/healthz/../metrics", "/debug/pprof/heap", "/debug/pprof"}
	for _, r := range a.table() {
		if r.role != roleNone {
			paths = append(paths, r.concrete())
		}
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"} {
			for _, authorization := range []string{"", "Bearer", "Bearer ", "Bearer x", "Bearer " + operateToken + "x", "Basic " + operateToken, operateToken} {
				r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
				r.Header.Set("Authorization", authorization)
				w := httptest.NewRecorder()
				a.Handler().ServeHTTP(w, r)
				if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %q: %d", method, path, authorization, w.Code)
				}
			}
		}
		// A token in the query is none.
		if w := ask(t, a, "GET", path+"?token="+operateToken, "", ""); w.Code != http.StatusUnauthorized {
			t.Errorf("GET %s, token in the query: %d", path, w.Code)
		}
	}
}

func TestAdminRoles(t *testing.T) {
	a, f := newAdmin(t)
	close(f.events) // a stream ends at once
	for _, r := range a.table() {
		for token, role := range map[string]adminRole{viewToken: roleView, operateToken: roleOperate} {
			w := ask(t, a, r.method, r.concrete(), token, ``)
			if forbidden := w.Code == http.StatusForbidden; forbidden != (role < r.role) || w.Code == http.StatusUnauthorized {
				t.Errorf("%s %s with role %d: %d %s", r.method, r.path, role, w.Code, w.Body)
			}
		}
		if w := ask(t, a, "HEAD", r.concrete(), operateToken, ""); r.method == "GET" && w.Code != http.StatusOK && !strings.Contains(r.path, "{id}") {
			t.Errorf("HEAD %s: %d", r.path, w.Code)
		}
		if w := ask(t, a, "PATCH", r.concrete(), operateToken, ""); w.Code != http.StatusMethodNotAllowed || !strings.Contains(w.Header().Get("Allow"), r.method) {
			t.Errorf("PATCH %s: %d", r.path, w.Code)
		}
	}
	for _, path := range []string{"profile?seconds=1", "trace?seconds=0.1", "symbol", "heap", ""} {
		if w := ask(t, a, "GET", "/debug/pprof/"+path, viewToken, ""); w.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, w.Code)
		}
		if w := ask(t, a, "GET", "/debug/pprof/"+path, operateToken, ""); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestAdminHealth(t *testing.T) {
	a, f := newAdmin(t)
	for _, c := range []struct {
		path  string
		ready bool
		code  int
		body  string
	}{
		{"/healthz", false, 200, `{"status":"ok"}`},
		{"/readyz", true, 200, `{"status":"ready"}`},
		{"/readyz", false, 503, `{"status":"not ready"}`},
	} {
		f.ready = c.ready
		if w := ask(t, a, "GET", c.path, "", ""); w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
}

func TestAdminFacts(t *testing.T) {
	a, _ := newAdmin(t)
	const node = `{"id":"n1","url":"http://n1","region":"eu","roles":[],"version":"1.0","raft":"voter","state":"alive",` +
		`"load":{"cpu":0.25,"egress_bps":1,"ingress_bps":2,"egress_pps":3,"sessions":4,"publishers":5,"subscribers":6,"rooms":7,"headroom":9,"score":0.5},` +
		`"capacity":{"sessions":100},"uptime_s":12.5}`
	const room1 = `{"id":"nc~room1","backend":"nc","home":"n1","epoch":1,"created":"2026-11-25T12:00:00Z","edges":[],"relays":[]}`
	const room2 = `{"id":"room2","backend":"","home":"n1","epoch":2,"reason":"drain","created":"2026-11-25T12:00:00Z","edges":[{"node":"n1","sessions":2,"publishers":1,"subscribers":1}],` +
		`"relays":[{"from":"n1","to":"n2","tracks":2,"bps":500000,"lost":3}]}`
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/admin/v1/cluster", 200, `{"cluster_id":"c1","leader":"n1","term":3,"commit_index":9,"applied_index":8,"quorum":true,"voters":1,"voters_alive":1,"failure_tolerance":0,"nodes":[` + node +
			`],"nodes_total":1,"rooms":2,"sessions":4,"headroom":9,"version":"1.0","warnings":[]}`},
		{"/admin/v1/nodes", 200, `{"nodes":[` + node + `],"total":1}`},
		{"/admin/v1/nodes?after=n1", 200, `{"nodes":[],"total":1}`},
		{"/admin/v1/nodes?limit=0", 400, `{"error":"limit: a number from 1 to 1000"}`},
		{"/admin/v1/nodes/n1", 200, node},
		{"/admin/v1/nodes/n9", 404, `{"error":"no such node, GET /admin/v1/nodes lists them"}`},
		{"/admin/v1/rooms", 200, `{"rooms":[` + room2 + `,` + room1 + `],"total":2}`},
		{"/admin/v1/rooms?limit=1", 200, `{"rooms":[` + room2 + `],"total":2,"next":"` + cursor.String() + `"}`},
		{"/admin/v1/rooms?limit=501", 400, `{"error":"limit: a number from 1 to 500"}`},
		{"/admin/v1/rooms?after=x", 400, `{"error":"after: the next of the page before is wanted"}`},
		{"/admin/v1/rooms?sort=size", 400, `{"error":"sort: id or newest"}`},
		{"/admin/v1/rooms?q=" + strings.Repeat("x", 257), 400, `{"error":"q: at most 256 bytes"}`},
		{"/admin/v1/rooms/room2", 200, room2},
		{"/admin/v1/rooms/nc~room1", 200, room1},
		{"/admin/v1/rooms/nc%7Eroom1", 200, room1},
		{"/admin/v1/rooms/none", 404, `{"error":"nobody is in such a room, GET /admin/v1/rooms lists those with somebody"}`},
		{"/admin/v1/rooms/~x", 400, `{"error":"a room is named ROOM, or BACKEND~ROOM if it is not of the embedded backend"}`},
		{"/admin/v1/users", 200, `{"users":[{"id":"ada","displayname":"Ada","admin":true,"created":"2026-11-25T12:00:00Z"}]}`},
		{"/admin/v1/users?search=broken", 500, `{"error":"disk is gone"}`},
		{"/admin/v1/nodes/n1/drain", 405, `{"error":"this path takes POST"}`},
		{"/admin/v1/nodes/n1/reboot", 404, `{"error":"nothing is served at this path by this version, docs/api.md lists what is"}`},
	} {
		w := ask(t, a, "GET", c.path, viewToken, "")
		if w.Code != c.code || w.Body.String() != c.want {
			t.Errorf("%s: %d\n%s\nwant %d\n%s", c.path, w.Code, w.Body, c.code, c.want)
		}
	}
	if w := ask(t, a, "GET", "/metrics", viewToken, ""); !strings.Contains(w.Body.String(), "talkd_test 0") {
		t.Errorf("metrics: %s", w.Body)
	}
	if w := ask(t, a, "GET", "/debug/pprof/goroutine?debug=1", operateToken, ""); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile") {
		t.Errorf("pprof: %d", w.Code)
	}
}

func TestAdminCreates(t *testing.T) {
	a, f := newAdmin(t)
	for _, c := range []struct {
		path, body string
		code       int
		want       string // part of the answer
	}{
		{"/admin/v1/join-tokens", ``, 201, `{"token":"join","command":"talkd serve --join-token join"}`},
		{"/admin/v1/join-tokens", `{"ttl":"10m"}`, 201, `"token"`},
		{"/admin/v1/join-tokens", `{"ttl":"10"}`, 400, "ttl: a duration"},
		{"/admin/v1/join-tokens", `{"ttl":"1000h"}`, 400, "ttl: a duration"},
		{"/admin/v1/join-tokens", `{"tll":"1h"}`, 400, "unknown field"},
		{"/admin/v1/join-tokens", `{} {}`, 400, "after the JSON value"},
		{"/admin/v1/join-tokens", `{"ttl":"` + strings.Repeat("1", MaxBody) + `"}`, 413, "larger than"},
		{"/admin/v1/users", `{"id":"ben","displayname":"Ben","password":"x","admin":true}`, 201, `{"id":"ben"}`},
		{"/admin/v1/users", `{"id":"ada","password":"x"}`, 409, "already"},
		{"/admin/v1/users", `{"id":"cleo"}`, 400, "password too short"},
	} {
		if w := ask(t, a, "POST", c.path, operateToken, c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %.40s: %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if f.ttl != 10*time.Minute || len(f.users) != 1 || f.users[0] != (NewUser{"ben", "x", "Ben", true}) {
		t.Errorf("%v %+v", f.ttl, f.users)
	}
	f.token = ErrUnavailable
	if w := ask(t, a, "POST", "/admin/v1/join-tokens", operateToken, ``); w.Code != 503 || !strings.Contains(w.Body.String(), "no quorum") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	without, _ := newAdmin(t, func(d *AdminDeps) { d.Users = nil })
	if w := ask(t, without, "POST", "/admin/v1/users", operateToken, `{}`); w.Code != 404 {
		t.Errorf("users without an embedded backend: %d", w.Code)
	}
}

func TestAdminEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f := newAdmin(t)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/admin/v1/events", nil)
		r.Header.Set("Authorization", "Bearer "+viewToken)
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.Handler().ServeHTTP(w, r)
		}()
		synctest.Wait()
		if f.open != 1 || w.Header().Get("Content-Type") != "text/event-stream; charset=utf-8" || !w.Flushed {
			t.Errorf("%d subscriptions, %v", f.open, w.Header())
		}
		f.events <- AdminEvent{ID: "n1-1", At: t0, Kind: "home_assigned", Room: "room2", Home: "n1", Epoch: 2}
		time.Sleep(keepalive + time.Second) // of the bubble: the time without events
		f.events <- AdminEvent{ID: "n1-2", At: t0, Kind: "leader", Node: "n2", Detail: "term 4"}
		close(f.events)
		<-done
		const want = ": talkd events\n\n" +
			`id: n1-1` + "\n" + `data: {"id":"n1-1","at":"2026-11-25T12:00:00Z","kind":"home_assigned","room":"room2","home":"n1","epoch":2}` + "\n\n: alive\n\n" +
			`id: n1-2` + "\n" + `data: {"id":"n1-2","at":"2026-11-25T12:00:00Z","kind":"leader","node":"n2","detail":"term 4"}` + "\n\n"
		if w.Body.String() != want {
			t.Errorf("%q\nwant\n%q", w.Body, want)
		}
		if f.open != 0 || len(a.streams) != 0 {
			t.Errorf("%d subscriptions, %d streams are left", f.open, len(a.streams))
		}
	})
}

// A reader that goes away frees its place; there is a limited number of those.
func TestAdminEventStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := newAdmin(t, func(d *AdminDeps) { d.Events = nobody{} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}, maxStreams)
		for range maxStreams {
			go func() {
				r := httptest.NewRequestWithContext(ctx, "GET", "/admin/v1/events", nil)
				r.Header.Set("Authorization", "Bearer "+viewToken)
				a.Handler().ServeHTTP(httptest.NewRecorder(), r)
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		if w := ask(t, a, "GET", "/admin/v1/events", viewToken, ""); w.Code != 503 || !strings.Contains(w.Body.String(), "close one") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		cancel()
		for range maxStreams {
			<-done
		}
		if len(a.streams) != 0 {
			t.Errorf("%d places are kept", len(a.streams))
		}
	})
}

// nobody tells nothing.
type nobody struct{}

func (nobody) Subscribe() ([]AdminEvent, <-chan AdminEvent, func()) { return nil, nil, func() {} }

// Over a real connection each event arrives by itself.
func TestAdminEventsOverHTTP(t *testing.T) {
	a, f := newAdmin(t)
	server := httptest.NewServer(a.Handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/admin/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+operateToken)
	client := server.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	const hello = ": talkd events\n\n"
	first := make([]byte, len(hello))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != hello {
		t.Fatalf("%q %v", first, err)
	}
	f.events <- AdminEvent{ID: "1", At: t0, Kind: "x"}
	second := make([]byte, len("id: 1\n"+`data: {"id":"1","at":"2026-11-25T12:00:00Z","kind":"x"}`))
	if _, err := io.ReadFull(resp.Body, second); err != nil || !bytes.HasSuffix(second, []byte(`"kind":"x"}`)) {
		t.Fatalf("%q %v", second, err)
	}
}

// The page shows itself without a token, to ask for one, and tells nothing.
func TestAdminPage(t *testing.T) {
	a, _ := newAdmin(t)
	without, with := ask(t, a, "GET", "/", "", ""), ask(t, a, "GET", "/", viewToken, "")
	if with.Header().Get("Talkd-Role") != "view" || without.Header().Get("Talkd-Role") != "" {
		t.Errorf("roles %q and %q", with.Header().Get("Talkd-Role"), without.Header().Get("Talkd-Role"))
	}
	if without.Code != 401 || with.Code != 200 || without.Body.String() != with.Body.String() || !strings.Contains(with.Body.String(), "<title>talkd</title>") {
		t.Errorf("%d and %d", without.Code, with.Code)
	}
	policy := without.Header().Get("Content-Security-Policy")
	if !regexp.MustCompile(`^default-src 'none'; connect-src 'self'; img-src data:; .*script-src 'sha256-[A-Za-z0-9+/=]{44}'; style-src 'sha256-[A-Za-z0-9+/=]{44}'$`).MatchString(policy) ||
		strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for _, once := range []string{"<script>", "</script>", "<style>", "</style>"} {
		if n := strings.Count(a.page, once); n != 1 {
			t.Errorf("%d times %s: the policy knows one", n, once)
		}
	}
	// What the policy forbids, or would put the token where it does not belong.
	for _, never := range []string{` style="`, ` onclick`, `javascript:`, `innerHTML`, `src="`, `EventSource(`, `?token`, `localStorage`, `http://`} {
		if strings.Contains(a.page, never) {
			t.Errorf("the page has %q", never)
		}
	}
}

func TestNewAdminRefuses(t *testing.T) {
	for _, c := range []AdminConfig{{}, {OperateToken: "short"}, {OperateToken: operateToken, ViewToken: "short"}, {OperateToken: operateToken}} {
		if _, err := NewAdmin(c, AdminDeps{}); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestAdminTokenFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.token")
	token, err := LoadOrCreateToken(path)
	if err != nil || len(token) < 40 {
		t.Fatalf("%q %v", token, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	again, err := LoadOrCreateToken(path)
	if err != nil || again != token {
		t.Errorf("another token at the second start: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("left behind: %v %v", files, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateToken(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	for _, content := range []string{"", "short\n", strings.Repeat("a b ", 20), strings.Repeat("x", maxAdminToken+1)} {
		bad := filepath.Join(t.TempDir(), "admin.token")
		if err := os.WriteFile(bad, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateToken(bad); err == nil || strings.Contains(err.Error(), "a b") {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	if _, err := LoadOrCreateToken(filepath.Join(dir, "none", "admin.token")); err == nil {
		t.Error("a token without its folder")
	}
	if _, err := LoadOrCreateToken(dir); err == nil {
		t.Error("a folder as token")
	}
}

// FuzzReadAdmin: a body is the JSON that is wanted, or the client's fault.
func FuzzReadAdmin(f *testing.F) {
	f.Add([]byte(`{"id":"ben","password":"x"}`))
	f.Add([]byte(``))
	f.Add([]byte(`{"id":1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", bytes.NewReader(body))
		var into struct {
			ID       string `json:"id"`
			Password string `json:"password"`
		}
		if err := readAdmin(r, &into); err != nil && failureOf(err).status != http.StatusBadRequest {
			t.Fatal(err)
		}
		if !json.Valid(body) && len(bytes.TrimSpace(body)) > 0 && readAdmin(httptest.NewRequestWithContext(t.Context(), "POST", "/", bytes.NewReader(body)), &into) == nil {
			t.Fatalf("%q was taken", body)
		}
	})
}
