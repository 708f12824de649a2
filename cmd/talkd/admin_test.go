package main

import (
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
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/doctor"
	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/store"
)

const adminToken = "an-operate-token-of-the-tests-0123456789"

var at = time.Date(2026, 11, 24, 12, 30, 5, 0, time.UTC)

// facts is what the admin API of the tests tells. The API itself is the
// product's, so that the tables and its field names cannot drift apart.
type facts struct {
	cluster  api.ClusterView
	rooms    []api.RoomView
	users    []api.NewUser
	backends backends
	events   []api.AdminEvent
	ttl      time.Duration
	refuse   error               // of operations
	follow   chan api.AdminEvent // nil: the events are all there is
	examined []doctor.Finding
}

func (f *facts) Examine(context.Context) (any, error) {
	return doctor.Examination{Findings: f.examined, Room: "room", Ticket: "ticket"}, nil
}

func (f *facts) Cluster(context.Context) api.ClusterView { return f.cluster }

func (f *facts) Rooms(_ context.Context, q store.RoomsQuery) api.RoomsPage {
	page := api.RoomsPage{Total: len(f.rooms)}
	for i, r := range f.rooms {
		id, _ := store.ParseRoomID(r.ID)
		if q.After == (store.RoomsCursor{}) || q.After.Room.Name < id.Name {
			if len(page.Rooms) == q.Limit {
				last, _ := store.ParseRoomID(f.rooms[i-1].ID)
				page.Next = store.RoomsCursor{Room: last}
				break
			}
			page.Rooms = append(page.Rooms, r)
		}
	}
	return page
}

func (f *facts) Room(_ context.Context, id store.RoomID) (api.RoomView, bool) {
	for _, r := range f.rooms {
		if r.ID == id.String() {
			return r, true
		}
	}
	return api.RoomView{}, false
}

func (f *facts) Subscribe() ([]api.AdminEvent, <-chan api.AdminEvent, func()) {
	if f.follow != nil {
		return f.events, f.follow, func() {}
	}
	ch := make(chan api.AdminEvent)
	close(ch)
	return f.events, ch, func() {}
}

// order tells the events of an operation, the first at once.
func (f *facts) order(kind string) (string, error) {
	if f.refuse != nil {
		return "", f.refuse
	}
	for i := range f.events {
		f.events[i].Kind, f.events[i].Op = kind, "n1-op"
	}
	return "n1-op", nil
}

func (f *facts) Drain(_ context.Context, _ store.NodeID, on bool) (string, error) {
	if !on {
		return f.order("undrain")
	}
	return f.order("drain")
}
func (f *facts) Remove(context.Context, store.NodeID) (string, error) { return f.order("remove") }
func (f *facts) Move(context.Context, store.RoomID, store.NodeID) (string, error) {
	return f.order("move")
}
func (f *facts) Rotate(context.Context, store.KeyKind) (string, error) { return f.order("rotate") }

func (f *facts) CreateJoinToken(_ context.Context, ttl time.Duration) (string, string, error) {
	f.ttl = ttl
	return "tj1_TOKEN", "talkd serve --advertise IP --http IP:8080 --join n1.example:8082 --join-token tj1_TOKEN", nil
}

func (f *facts) CreateUser(_ context.Context, u api.NewUser) error {
	for _, have := range f.users {
		if have.ID == u.ID {
			return store.ErrExists
		}
	}
	f.users = append(f.users, u)
	return nil
}

func (f *facts) ListUsers(context.Context, string) ([]store.User, error) {
	users := make([]store.User, 0, len(f.users))
	for _, u := range f.users {
		users = append(users, store.User{ID: u.ID, DisplayName: u.DisplayName, Admin: u.Admin, Created: at})
	}
	return users, nil
}

func threeNodes() *facts {
	node := func(id, region, state string, load api.LoadView, up float64) api.NodeView {
		return api.NodeView{
			ID: id, URL: "https://" + id + ".example", Region: region, Version: "1.2.3", Raft: "voter", State: state,
			Load: load, UptimeS: up, TakesRooms: state == "alive",
		}
	}
	return &facts{
		cluster: api.ClusterView{
			ClusterID: "c-abc", Leader: "n2", Term: 7, CommitIndex: 4711, AppliedIndex: 4710, Quorum: true, Voters: 3, VotersAlive: 2,
			Rooms: 2, Sessions: 5, Headroom: 1234, Version: "1.2.3",
			Nodes: []api.NodeView{
				node("n1", "eu", "alive", api.LoadView{CPU: 0.256, EgressBps: 12_345_678, IngressBps: 999.7, Rooms: 1, Sessions: 3, Publishers: 2, Subscribers: 4}, 61),
				node("n2", "eu", "alive", api.LoadView{CPU: 1, EgressBps: 2.5e9, IngressBps: 0, Rooms: 1, Sessions: 2}, 3*3600+5*60),
				node("n3", "", "dead", api.LoadView{}, 5*24*3600),
			},
		},
		rooms: []api.RoomView{
			{
				ID: "cloud~team room", Backend: "cloud", Home: "n2", Epoch: 1234567, Reason: "drain", Created: at,
				Edges: []api.EdgeView{
					{Node: "n1", Sessions: 2, Publishers: 2, Subscribers: 4}, {Node: "n2", Sessions: 1, Publishers: 1, Subscribers: 2},
				},
				Relays: []api.RelayView{{From: "n1", To: "n2", Tracks: 4, Bps: 1_500_000, Lost: 3}, {From: "n2", To: "n1", Tracks: 2, Bps: 64_000}},
			},
			{ID: "abcd1234", Home: "n1", Epoch: 3, Created: at.Add(-26 * time.Hour)},
		},
	}
}

// serveAdmin starts the admin API and points the commands at it.
func serveAdmin(t *testing.T, f *facts) *httptest.Server {
	t.Helper()
	admin, err := api.NewAdmin(api.AdminConfig{OperateToken: adminToken}, api.AdminDeps{
		Cluster: f, Rooms: f, Events: f, Tokens: f, Users: f, Backends: &f.backends, Operations: f, Doctor: f, Ready: func() bool { return true },
		Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(admin.Handler())
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	t.Setenv("TALKD_ADMIN", s.URL+"/")
	t.Setenv("TALKD_TOKEN", adminToken)
	return s
}

func TestTables(t *testing.T) {
	alone := threeNodes()
	alone.cluster.Leader, alone.cluster.Quorum, alone.cluster.VotersAlive = "", false, 1
	alone.cluster.Nodes[1].State = "dead"
	well := threeNodes()
	well.cluster.VotersAlive, well.cluster.FailureTolerance = 3, 1
	well.cluster.Nodes[2].State = "alive"
	mixed := threeNodes()
	mixed.cluster.VotersAlive, mixed.cluster.FailureTolerance = 3, 1
	mixed.cluster.Nodes[1].Version, mixed.cluster.Nodes[2].State = "1.3.0", "draining"
	over := threeNodes()
	over.cluster.VotersAlive, over.cluster.FailureTolerance, over.cluster.Nodes[2].State = 3, 1, "alive"
	over.cluster.Nodes[1].Overload = &api.Overload{Reason: "cpu", Since: at, Streams: 40, Lowered: 10, Paused: 5}
	for name, tt := range map[string]struct {
		facts *facts
		args  string
	}{
		"status_overload":   {over, "cluster status"},
		"status":            {threeNodes(), "cluster status"},
		"status_no_quorum":  {alone, "cluster status"},
		"status_well":       {well, "cluster status"},
		"status_upgrade":    {mixed, "cluster status"},
		"status_empty":      {new(facts), "cluster status"},
		"status_json":       {threeNodes(), "cluster status --json"},
		"rooms":             {threeNodes(), "cluster rooms"},
		"rooms_empty":       {new(facts), "cluster rooms"},
		"rooms_json":        {threeNodes(), "cluster --json rooms"},
		"rooms_limit":       {threeNodes(), "cluster rooms --limit 1"},
		"room_embedded":     {threeNodes(), "cluster room abcd1234"},
		"events":            {withEvents(), "cluster events --since 1000000h"},
		"events_json":       {withEvents(), "cluster events --since 1000000h --json"},
		"drain":             {withDrain(), "cluster drain n1"},
		"undrain":           {withDrain(), "cluster undrain n1"},
		"remove":            {withDrain(), "cluster remove n1"},
		"move":              {withDrain(), "cluster move abcd1234 n2"},
		"drain_json":        {withDrain(), "cluster drain --json n1"},
		"drain_no_wait":     {withDrain(), "cluster drain n1 --no-wait"},
		"move_no_wait_json": {withDrain(), "cluster move abcd1234 n2 --no-wait --json"},
		"users":             {&facts{users: []api.NewUser{{ID: "admin", Admin: true}, {ID: "zoe", DisplayName: "Zoë Q."}}}, "user list"},
		"join_token":        {threeNodes(), "join-token create --ttl 30m"},
	} {
		t.Run(name, func(t *testing.T) {
			serveAdmin(t, tt.facts)
			args := strings.Fields(tt.args)
			if args[1] == "--json" {
				args[1], args[2] = args[2], args[1]
			}
			code, out, log := talkd(t, args...)
			if code != exitDone || log != "" && name != "rooms_limit" {
				t.Fatalf("exit %d: %s", code, log)
			}
			golden(t, name, out+log)
			if strings.HasSuffix(name, "_json") {
				for line := range strings.Lines(out) {
					if !json.Valid([]byte(line)) {
						t.Errorf("not JSON: %s", line)
					}
				}
			}
		})
	}
}

func withEvents() *facts {
	return &facts{events: []api.AdminEvent{
		{At: at, Kind: "node_joined", Node: "n3"},
		{At: at.Add(time.Second), Kind: "home_assigned", Room: "cloud~team room", Home: "n1", From: "n2", Epoch: 12345678, Reason: "drain",
			Detail: "room cloud~team room moved from n2 to n1: n2 drains"},
		{At: at.Add(2 * time.Second), Kind: "node_dead", Node: "n2", Detail: "n2 is dead"},
	}}
}

func withDrain() *facts {
	f := threeNodes()
	f.events = []api.AdminEvent{
		{At: at, Phase: api.PhaseAccepted, Node: "n1", Detail: "rooms and people are to leave n1"},
		{At: at.Add(time.Second), Phase: api.PhaseProgress, Node: "n1", Left: &api.Left{Rooms: 1, Sessions: 3}, Detail: "1 room and 3 sessions left on n1"},
		{At: at.Add(2 * time.Second), Phase: api.PhaseDone, Node: "n1", Left: &api.Left{}, Detail: "nobody is left on n1: it can be stopped"},
	}
	return f
}

// An operation that fails, is refused, or is not waited for ends with 1 and
// says what to do.
func TestOperationsThatEndBadly(t *testing.T) {
	failed := withDrain()
	failed.events[2].Phase, failed.events[2].Detail = api.PhaseFailed, "1 room cannot leave n1"
	serveAdmin(t, failed)
	if code, out, log := talkd(t, "cluster", "drain", "n1"); code != exitFailed || !strings.Contains(out, "failed: 1 room cannot leave n1") || !strings.Contains(log, "failed, see above") {
		t.Errorf("failed: exit %d: %s%s", code, out, log)
	}
	for err, says := range map[error]string{
		fmt.Errorf("%w: n1 is the last one", api.ErrRefused): "n1 is the last one",
		store.ErrNoSuchNode: "no such node",
		api.ErrUnavailable:  "no quorum",
	} {
		f := withDrain()
		f.refuse = err
		serveAdmin(t, f)
		if code, out, log := talkd(t, "cluster", "remove", "n1"); code != exitFailed || out != "" || !strings.Contains(log, says) {
			t.Errorf("%v: exit %d: %s%s", err, code, out, log)
		}
	}
	gone := withDrain()
	gone.events = gone.events[:2]
	serveAdmin(t, gone)
	if code, _, log := talkd(t, "cluster", "drain", "n1"); code != exitFailed || !strings.Contains(log, "talkd cluster events --op n1-op") {
		t.Errorf("the node stopped: exit %d: %s", code, log)
	}
	// Ctrl-C while it goes on.
	gone.follow = make(chan api.AdminEvent)
	ctx, cancel := context.WithCancel(t.Context())
	var log strings.Builder
	out := writerFunc(func(b []byte) {
		if strings.Contains(string(b), "progress") {
			cancel()
		}
	})
	if code := run(ctx, []string{"cluster", "drain", "n1"}, out, &log); code != exitFailed || !strings.Contains(log.String(), "goes on without you; follow it: talkd cluster events --op n1-op") {
		t.Errorf("interrupted: exit %d: %s", code, log.String())
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) { f(b); return len(b), nil }

// Keys are replaced as other orders are carried out.
func TestRotateKeys(t *testing.T) {
	for _, key := range []string{"gossip", "ca"} {
		f := withDrain()
		serveAdmin(t, f)
		if code, out, log := talkd(t, "keys", "rotate", key); code != exitDone || !strings.Contains(out, "done") {
			t.Errorf("%s: exit %d: %s%s", key, code, out, log)
		}
		if code, out, _ := talkd(t, "keys", "rotate", key, "--no-wait"); code != exitDone || out != "n1-op\n" {
			t.Errorf("%s: exit %d: %s", key, code, out)
		}
	}
	for _, args := range []string{"keys", "keys rotate", "keys rotate turn", "keys list", "keys rotate gossip ca"} {
		if code, _, _ := talkd(t, strings.Fields(args)...); code != exitUsage {
			t.Errorf("%s: exit %d", args, code)
		}
	}
}

// An operation is followed by its id, at whichever node knows it.
func TestEventsOfAnOperation(t *testing.T) {
	f := withDrain()
	_, _ = f.order("drain")
	serveAdmin(t, f)
	code, out, log := talkd(t, "cluster", "events", "--op", "n1-op")
	if code != exitDone || strings.Count(out, "\n") != 3 {
		t.Errorf("exit %d: %s%s", code, out, log)
	}
	f.follow = make(chan api.AdminEvent)
	close(f.follow)
	if code, out, log := talkd(t, "cluster", "events", "--op", "n1-none"); code != exitFailed || !strings.Contains(log, "knows no such operation") {
		t.Errorf("exit %d: %s%s", code, out, log)
	}
}

// Rooms come in pages; all are listed once.
func TestRoomsInPages(t *testing.T) {
	f := threeNodes()
	f.rooms = nil
	for i := range 2*roomsPage + 1 {
		f.rooms = append(f.rooms, api.RoomView{ID: fmt.Sprintf("r%05d", i), Home: "n1", Created: at})
	}
	serveAdmin(t, f)
	for args, want := range map[string]int{"cluster rooms --limit 0": 2*roomsPage + 1, "cluster rooms": roomsShown, "cluster rooms --limit 600": 600} {
		code, out, log := talkd(t, strings.Fields(args)...)
		if lines := strings.Count(out, "\n") - 1; code != exitDone || lines != want || (log == "") != (want > roomsShown) {
			t.Errorf("%s: exit %d, %d rooms, want %d: %s", args, code, lines, want, log)
		}
	}
}

// A room's name is one part of the path whatever is in it.
func TestRoomNames(t *testing.T) {
	serveAdmin(t, threeNodes())
	code, out, log := talkd(t, "cluster", "room", "cloud~team room")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, log)
	}
	golden(t, "room", out)
	for _, name := range []string{"none", "a/../b", "a?b=c", "ä%2f"} {
		code, _, log := talkd(t, "cluster", "room", name)
		if code != exitFailed || !strings.Contains(log, "nobody is in such a room") {
			t.Errorf("%q: exit %d: %s", name, code, log)
		}
	}
	if code, _, log := talkd(t, "cluster", "room", "~x"); code != exitFailed || !strings.Contains(log, "a room is named") {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestJoinTokenTTL(t *testing.T) {
	f := threeNodes()
	serveAdmin(t, f)
	if code, out, log := talkd(t, "join-token", "create"); code != exitDone || f.ttl != time.Hour || !strings.HasPrefix(out, "tj1_TOKEN\n") {
		t.Errorf("exit %d, %v: %s%s", code, f.ttl, out, log)
	}
	if code, _, log := talkd(t, "join-token", "create", "--ttl", "1s"); code != exitFailed || !strings.Contains(log, "ttl") {
		t.Errorf("exit %d: %s", code, log)
	}
}

// The password comes from the standard input and is not shown.
func TestUserAdd(t *testing.T) {
	f := new(facts)
	serveAdmin(t, f)
	code, out, log := withInput(t, "correct horse\r\n", "user", "add", "zoe", "--display-name", "Zoë", "--administrator")
	if code != exitDone || out != "" || strings.Contains(log, "horse") {
		t.Fatalf("exit %d: %s%s", code, out, log)
	}
	if want := (api.NewUser{ID: "zoe", Password: "correct horse", DisplayName: "Zoë", Admin: true}); len(f.users) != 1 || f.users[0] != want {
		t.Errorf("created %+v", f.users)
	}
	if code, _, log := withInput(t, "other", "user", "add", "zoe"); code != exitFailed || !strings.Contains(log, "already") {
		t.Errorf("twice: exit %d: %s", code, log)
	}
	if code, _, log := withInput(t, "", "user", "add", "max"); code != exitFailed || !strings.Contains(log, "no password") {
		t.Errorf("without password: exit %d: %s", code, log)
	}
}

// withInput runs a command line with a standard input.
func withInput(t *testing.T, input string, args ...string) (int, string, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(input), 0o600); err != nil {
		t.Fatal(err)
	}
	stdin, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	old := os.Stdin
	os.Stdin = stdin
	defer func() { os.Stdin = old }()
	return talkd(t, args...)
}

// What the operator reads when the node says no.
func TestRefusals(t *testing.T) {
	serveAdmin(t, threeNodes())
	if code, _, log := talkd(t, "cluster", "status", "--token", "wrong"); code != exitFailed || !strings.Contains(log, "DATA/admin.token") || strings.Contains(log, "wrong") {
		t.Errorf("a wrong token: exit %d: %s", code, log)
	}
	for name, answer := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"an error":       {http.StatusServiceUnavailable, `{"error":"no quorum"}`, "no quorum"},
		"no JSON":        {http.StatusBadGateway, "<html>", "502 Bad Gateway"},
		"an empty error": {http.StatusInternalServerError, `{"error":""}`, "500 Internal"},
		"half an answer": {http.StatusOK, `{"nodes":`, "unexpected EOF"},
		"another type":   {http.StatusOK, `[]`, "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(answer.status)
				_, _ = io.WriteString(w, answer.body)
			}))
			defer s.Close()
			defer http.DefaultClient.CloseIdleConnections()
			if code, out, log := talkd(t, "cluster", "status", "--admin", s.URL); code != exitFailed || out != "" || !strings.Contains(log, answer.says) {
				t.Errorf("exit %d: %s%s", code, out, log)
			}
		})
	}
}

// Without --token and TALKD_TOKEN the token is the one of the node's default
// data directory.
func TestTokenOfTheDataDirectory(t *testing.T) {
	serveAdmin(t, threeNodes())
	t.Setenv("TALKD_TOKEN", "")
	t.Chdir(t.TempDir())
	if code, _, log := talkd(t, "cluster", "rooms"); code != exitFailed || !strings.Contains(log, "no admin token") {
		t.Errorf("exit %d: %s", code, log)
	}
	dir := config.Default().Node.Data
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte(adminToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, log := talkd(t, "cluster", "rooms"); code != exitDone {
		t.Errorf("exit %d: %s", code, log)
	}
}

// Ctrl-C ends the events without an error.
func TestEventsEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, ": hello\n\nevent: x\ndata: {\"at\":\"2026-11-24T12:30:05Z\",\"kind\":\"x\"}\n\n")
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if err := clusterCommand(ctx, []string{"events", "--admin", s.URL, "--token", "x"}, io.Discard, io.Discard); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "data: {\n") }))
	defer bad.Close()
	if code, _, log := talkd(t, "cluster", "events", "--admin", bad.URL, "--token", "x"); code != exitFailed || !strings.Contains(log, "no event") {
		t.Errorf("exit %d: %s", code, log)
	}
}

func TestBits(t *testing.T) {
	for bps, want := range map[float64]string{
		0: "0 bit/s", 1: "1 bit/s", 999: "999 bit/s", 999.6: "1 kbit/s", 1000: "1 kbit/s", 12_345: "12.3 kbit/s", 999_499: "999 kbit/s",
		999_600: "1 Mbit/s", 2_500_000: "2.5 Mbit/s", 999.9e6: "1 Gbit/s", 1e9: "1 Gbit/s", 42.42e9: "42.4 Gbit/s",
	} {
		if got := bits(bps); got != want {
			t.Errorf("bits(%v) = %q, want %q", bps, got, want)
		}
	}
}

func TestUptime(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0s", 59.9: "59s", 60: "1m0s", 3599: "59m59s", 3600: "1h00m", 47*3600 + 59*60: "47h59m", 48 * 3600: "2d", 100 * 24 * 3600: "100d",
	} {
		if got := uptime(seconds); got != want {
			t.Errorf("uptime(%v) = %q, want %q", seconds, got, want)
		}
	}
}

// TestAdminOfSomethingElse: what answers is another server.
func TestAdminOfSomethingElse(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"a page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "<html>") },
		"none":   http.NotFound,
	} {
		page := httptest.NewServer(answer)
		code, out, log := talkd(t, "cluster", "status", "--admin", page.URL, "--token", "T")
		page.Close()
		if code != exitFailed || out != "" || !strings.Contains(log, "is no node of talkd") || !strings.Contains(log, "--admin URL") {
			t.Errorf("%s: exit %d: %s %s", name, code, out, log)
		}
	}
}
