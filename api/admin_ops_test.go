package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talkd/talkd/store"
)

// An order is taken with 202 and an id; whoever may only look orders nothing.
func TestAdminOperations(t *testing.T) {
	for _, c := range []struct{ method, path, body, want string }{
		{"POST", "/admin/v1/nodes/n2/drain", ``, "drain n2 true"},
		{"POST", "/admin/v1/nodes/n2/drain", `{}`, "drain n2 true"},
		{"POST", "/admin/v1/nodes/n2/undrain", ``, "drain n2 false"},
		{"DELETE", "/admin/v1/nodes/n2", ``, "remove n2"},
		{"POST", "/admin/v1/rooms/nc~r1/move", `{"node":"n2"}`, "move nc~r1 to n2"},
		{"POST", "/admin/v1/rooms/nc%7Er1/move", `{"node":"n2"}`, "move nc~r1 to n2"},
		{"POST", "/admin/v1/keys/gossip/rotate", ``, "rotate gossip"},
		{"POST", "/admin/v1/keys/ca/rotate", ``, "rotate ca"},
	} {
		a, f := newAdmin(t)
		if w := ask(t, a, c.method, c.path, viewToken, c.body); w.Code != http.StatusForbidden || len(f.orders) != 0 {
			t.Errorf("%s %s with the view token: %d, %v", c.method, c.path, w.Code, f.orders)
		}
		w := ask(t, a, c.method, c.path, operateToken, c.body)
		if w.Code != http.StatusAccepted || w.Body.String() != `{"event":"n1-op"}` || !slices.Equal(f.orders, []string{c.want}) {
			t.Errorf("%s %s: %d %s, %v", c.method, c.path, w.Code, w.Body, f.orders)
		}
	}
}

func TestAdminOperationsRefuse(t *testing.T) {
	a, f := newAdmin(t)
	for _, c := range []struct {
		method, path, body string
		err                error
		code               int
		want               string
	}{
		{"POST", "/admin/v1/nodes/n9/drain", ``, store.ErrNoSuchNode, 404, "no such node"},
		{"POST", "/admin/v1/nodes/N_9/drain", ``, nil, 404, "no such node"},
		{"POST", "/admin/v1/nodes/n1/drain", `{"force":true}`, nil, 400, "unknown field"},
		{"POST", "/admin/v1/nodes/n1/drain", ``, fmt.Errorf("%w: no other node takes rooms", ErrRefused), 409, "refused: no other node takes rooms"},
		{"POST", "/admin/v1/nodes/n1/drain", ``, fmt.Errorf("%w: no leader", ErrUnavailable), 503, "no quorum"},
		{"POST", "/admin/v1/nodes/n1/drain", ``, fmt.Errorf("disk is gone"), 500, "disk is gone"},
		{"POST", "/admin/v1/rooms/r1/move", ``, nil, 400, `{\"node\":\"n2\"}`},
		{"POST", "/admin/v1/rooms/r1/move", `{"node":"N2"}`, nil, 404, "no such node"},
		{"POST", "/admin/v1/rooms/~/move", `{"node":"n2"}`, nil, 400, "a room is named"},
		{"POST", "/admin/v1/rooms/r1/move", `{"node":"n2"}`, ErrNoRoom, 404, "nobody is in such a room"},
		{"POST", "/admin/v1/rooms/r1/move", `{"node":"` + strings.Repeat("n", MaxBody) + `"}`, nil, 413, "larger than"},
		{"POST", "/admin/v1/keys/turn/rotate", ``, nil, 404, "gossip and ca"},
	} {
		f.refuse = c.err
		if w := ask(t, a, c.method, c.path, operateToken, c.body); w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, w.Code, w.Body, c.code, c.want)
		}
	}
	if len(f.orders) != 0 {
		t.Errorf("ordered %v", f.orders)
	}
}

// stream reads the events of a path to their end and gives their ids.
func stream(t *testing.T, a *Admin, path, lastID string) (code int, ids []string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
	r.Header.Set("Authorization", "Bearer "+viewToken)
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, r)
	for line := range strings.Lines(w.Body.String()) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			ids = append(ids, strings.TrimSpace(id))
		}
	}
	return w.Code, ids
}

func past() []AdminEvent {
	var list []AdminEvent
	for i := range 6 {
		e := AdminEvent{ID: fmt.Sprintf("n1-%d", i), At: t0.Add(time.Duration(i) * time.Second), Kind: "x"}
		if i%2 == 1 {
			e.Op, e.Phase = "n1-op", PhaseProgress
		}
		list = append(list, e)
	}
	list[5].Phase = PhaseDone
	return list
}

// A reader gets what it has missed, and knows nothing twice.
func TestAdminEventsAgain(t *testing.T) {
	a, f := newAdmin(t)
	f.past = past()
	close(f.events)
	for _, c := range []struct{ query, last, want string }{
		{"", "", ""},
		{"?since=0", "", "n1-0 n1-1 n1-2 n1-3 n1-4 n1-5"},
		{"?since=n1-3", "", "n1-4 n1-5"},
		{"?since=n1-5", "", ""},
		{"?since=n1-1", "n1-4", "n1-5"},                // the header is newer than the address
		{"", "n2-77", "n1-0 n1-1 n1-2 n1-3 n1-4 n1-5"}, // of another node's stream
		{"?since=" + t0.Add(4*time.Second).Format(time.RFC3339), "", "n1-4 n1-5"},
		{"?op=n1-op", "", "n1-1 n1-3 n1-5"},
		{"?op=n1-op", "n1-3", "n1-5"},
	} {
		code, ids := stream(t, a, "/admin/v1/events"+c.query, c.last)
		if got := strings.Join(ids, " "); code != 200 || got != c.want {
			t.Errorf("%s after %q: %d %s, want %s", c.query, c.last, code, got, c.want)
		}
	}
	for _, query := range []string{"?since=" + strings.Repeat("x", 300), "?op=" + strings.Repeat("x", 300)} {
		if code, _ := stream(t, a, "/admin/v1/events"+query, ""); code != 400 {
			t.Errorf("%.20s: %d", query, code)
		}
	}
}

// The stream of an operation ends with it, also when it was ordered at another
// node and is not known here yet.
func TestAdminEventsOfAnOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f := newAdmin(t)
		go func() {
			time.Sleep(opWait / 2) // of the bubble, like all others here
			f.events <- AdminEvent{ID: "n1-0", Kind: "other"}
			f.events <- AdminEvent{ID: "n1-1", Op: "n2-op", Phase: PhaseAccepted}
			f.events <- AdminEvent{ID: "n1-2", Op: "n3-op", Phase: PhaseDone}
			f.events <- AdminEvent{ID: "n1-3", Op: "n2-op", Phase: PhaseFailed}
		}()
		code, ids := stream(t, a, "/admin/v1/events?op=n2-op", "")
		if got := strings.Join(ids, " "); code != 200 || got != "n1-1 n1-3" {
			t.Errorf("%d %s", code, got)
		}
		begun := time.Now()
		if code, ids := stream(t, a, "/admin/v1/events?op=n2-none", ""); code != 404 || len(ids) != 0 || time.Since(begun) != opWait {
			t.Errorf("unknown: %d %v after %v", code, ids, time.Since(begun))
		}
	})
}

// Facts come with the events, when they have changed.
func TestAdminEventsWithFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, f := newAdmin(t)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/admin/v1/events?facts", nil)
		r.Header.Set("Authorization", "Bearer "+viewToken)
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.Handler().ServeHTTP(w, r)
		}()
		time.Sleep(2*factsInterval + time.Second) // of the bubble
		f.set(func() { f.sessions = 5 })
		time.Sleep(2 * factsInterval)
		close(f.events)
		<-done
		if n := strings.Count(w.Body.String(), "event: cluster\ndata: {\"cluster_id\":\"c1\""); n != 2 || !strings.Contains(w.Body.String(), `"sessions":5`) {
			t.Errorf("%d times the cluster in %s", n, w.Body)
		}
	})
}
