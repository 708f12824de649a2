package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/talkd/talkd/store"
)

func TestEnvelopes(t *testing.T) {
	f := newFixture(t)
	token := f.login("ada")
	for _, c := range []struct {
		name, method, path, token string
		status                    int // HTTP of version 2
		code1, code2              int // of the envelope
		http1                     int
	}{
		{"ok", "GET", "/cloud/user", token, 200, 100, 200, 200},
		{"not logged in", "GET", "/cloud/user", "", 401, 997, 997, 401},
		{"wrong token", "GET", "/cloud/user", "x", 401, 997, 997, 401},
		{"wrong token where anybody may come", "GET", "/cloud/capabilities", "x", 401, 997, 997, 401},
		{"not found", "GET", "/apps/spreed/api/v4/room/none", token, 404, 404, 404, 200},
		{"bad parameter", "POST", "/apps/spreed/api/v4/room", token, 400, 400, 400, 200},
		{"unknown route", "GET", "/apps/spreed/api/v9/room", token, 404, 998, 998, 200},
		{"unknown route, no login", "GET", "/nothing", "", 404, 998, 998, 200},
		{"other method", "PATCH", "/cloud/user", token, 405, 405, 405, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			two := f.do(c.method, "/ocs/v2.php"+c.path, c.token, nil)
			if two.status != c.status || two.meta.StatusCode != c.code2 {
				t.Errorf("v2: HTTP %d, code %d, want %d, %d: %s", two.status, two.meta.StatusCode, c.status, c.code2, two.body)
			}
			if two.meta.TotalItems != nil {
				t.Errorf("v2 has totalitems: %s", two.body)
			}
			one := f.do(c.method, "/ocs/v1.php"+c.path, c.token, nil)
			if one.status != c.http1 || one.meta.StatusCode != c.code1 {
				t.Errorf("v1: HTTP %d, code %d, want %d, %d: %s", one.status, one.meta.StatusCode, c.http1, c.code1, one.body)
			}
			want := "failure"
			if c.code2 < 300 {
				want = "ok"
			}
			if two.meta.Status != want || one.meta.Status != want || two.meta.Message == "" {
				t.Errorf("meta %+v and %+v, want %s", one.meta, two.meta, want)
			}
			for _, a := range []answer{one, two} {
				if a.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
					t.Errorf("header %v", a.header)
				}
				if a.status == 401 && a.header.Get("WWW-Authenticate") != `Bearer realm="talkd"` {
					t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
				}
			}
		})
	}
	if one := f.do("GET", "/ocs/v1.php/cloud/user", token, nil); one.meta.TotalItems == nil || *one.meta.TotalItems != "" {
		t.Errorf("v1 without totalitems: %s", one.body)
	}
}

// Every route says what methods it takes, and asks for a login where it should.
func TestEveryRoute(t *testing.T) {
	f := newFixture(t)
	for _, r := range f.table() {
		path := "/ocs/v2.php" + strings.ReplaceAll(r.path, "{token}", "none0000")
		if a := f.do("TRACE", path, "", nil); a.status != http.StatusMethodNotAllowed || !strings.Contains(a.header.Get("Allow"), r.method) {
			t.Errorf("TRACE %s: %d, Allow %q", path, a.status, a.header.Get("Allow"))
		}
		a := f.do(r.method, path, "", nil)
		if r.access == usersOnly && a.status != http.StatusUnauthorized {
			t.Errorf("%s %s without login: %d", r.method, path, a.status)
		}
		if strings.Contains(r.path, "{token}") && r.access == anybody && a.status != http.StatusNotFound {
			t.Errorf("%s %s of no conversation: %d %s", r.method, path, a.status, a.body)
		}
		if a := f.do(r.method, path, "wrong", nil); a.status != http.StatusUnauthorized {
			t.Errorf("%s %s with a wrong token: %d", r.method, path, a.status)
		}
	}
}

func TestTroubleOfTheCluster(t *testing.T) {
	f := newFixture(t)
	token := f.login("ada")
	f.cluster.err = errors.New("raft: secret detail")
	a := f.refused(503, "", "POST", rooms, token, map[string]any{"roomType": 3, "roomName": "x"})
	if a.header.Get("Retry-After") != "1" || strings.Contains(string(a.body), "secret") {
		t.Errorf("%v %s", a.header, a.body)
	}
	f.cluster.err = store.ErrLimit
	f.refused(429, "limit", "POST", rooms, token, map[string]any{"roomType": 3, "roomName": "x"})
	f.cluster.err = nil
	room := f.conversation(token, store.Public)
	f.sealing.none = true
	f.refused(503, "", "POST", rooms+"/"+room.Token+"/participants/active", "", nil)
	f.refused(503, "", "GET", talk+"/v3/signaling/settings", "", nil)
	f.sealing.none = false
	f.calls.err = errors.New("home is gone")
	if d := into[roomData](f, f.ok("GET", rooms+"/"+room.Token, token, nil)); d.HasCall {
		t.Error("a call without its home")
	}
	if a := f.do("GET", talk+"/v4/call/"+room.Token, token, nil); a.status != 500 || strings.Contains(string(a.body), "home is gone") {
		t.Errorf("%d %s", a.status, a.body)
	}
	f.calls.err = ErrUnavailable
	f.refused(503, "", "GET", talk+"/v4/call/"+room.Token, token, nil)
	if n := f.counted("talkd_api_requests_total", "error"); n != 5 {
		t.Errorf("%v errors counted", n)
	}
}

func TestCrossOrigin(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		origin string
		allow  bool
	}{
		{otherURL, true},
		{"https://n1.example.org", true},
		{"https://N2.example.org:443", true},
		{"http://n2.example.org", false},
		{"https://n2.example.org.evil.test", false},
		{"https://n2.example.org/path", false},
		{"null", false},
		{":", false},
	} {
		from := func(r *http.Request) { r.Header.Set("Origin", c.origin) }
		a := f.do("GET", ocs2+"/cloud/capabilities", "", nil, from)
		if got := a.header.Get("Access-Control-Allow-Origin") == c.origin; got != c.allow {
			t.Errorf("%s: allowed %t, want %t", c.origin, got, c.allow)
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" || a.header.Get("Vary") != "Origin" {
			t.Errorf("%s: %v", c.origin, a.header)
		}
		a = f.do("OPTIONS", rooms, "", nil, from, func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "POST") })
		if a.status != http.StatusNoContent || strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") != c.allow {
			t.Errorf("%s: preflight %d %v", c.origin, a.status, a.header)
		}
	}
}

func TestCleanPath(t *testing.T) {
	f := newFixture(t)
	token := f.login("ada")
	for _, path := range []string{"/ocs/v2.php//cloud/user", "//ocs/v2.php/cloud/./user", "/ocs/v2.php/x/../cloud/user"} {
		if a := f.do("GET", "http://host"+path, token, nil); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

func TestStatusAndCapabilities(t *testing.T) {
	f := newFixture(t)
	a := f.do("GET", "/status.php", "", nil)
	var s map[string]any
	if err := json.Unmarshal(a.body, &s); err != nil || a.status != 200 {
		t.Fatal(err, a.status)
	}
	if s["installed"] != true || s["maintenance"] != false || s["version"] != "35.0.0.0" || s["productname"] != "talkd" {
		t.Errorf("%s", a.body)
	}
	type caps struct {
		Version      struct{ Major int }
		Capabilities struct {
			Spreed struct {
				Features []string
				Config   struct {
					Conversations struct {
						CanCreate bool `json:"can-create"`
					}
				}
			}
		}
	}
	c := into[caps](f, f.ok("GET", ocs2+"/cloud/capabilities", "", nil))
	if c.Version.Major < 26 || len(c.Capabilities.Spreed.Features) == 0 || c.Capabilities.Spreed.Config.Conversations.CanCreate {
		t.Errorf("%+v", c)
	}
	if c := into[caps](f, f.ok("GET", ocs2+"/cloud/capabilities", f.login("ada"), nil)); !c.Capabilities.Spreed.Config.Conversations.CanCreate {
		t.Errorf("%+v", c)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, url := range []string{"", "n1", "ftp://n1", "://"} {
		if _, err := New(Config{PublicURL: url}, Deps{}); err == nil {
			t.Errorf("public URL %q was taken", url)
		}
	}
	if _, err := New(Config{PublicURL: "http://n1"}, Deps{}); err == nil {
		t.Error("nothing to depend on was taken")
	}
}
