package node

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/talkd/talkd/store"
)

// TestPagesAreOfTheEmbeddedBackend: the web client cannot log in without it.
func TestPagesAreOfTheEmbeddedBackend(t *testing.T) {
	for _, c := range []struct {
		embedded bool
		target   string
		status   int
		words    string
	}{
		{true, "/", 200, "<!doctype html>"},
		{true, "/call/abc?redirect=0", 200, "<!doctype html>"},
		{false, "/", 200, "high-performance backend of Nextcloud Talk"},
		{false, "/call/abc", 404, "not found"},
		{false, "/favicon.svg", 404, "not found"},
	} {
		w := httptest.NewRecorder()
		pages(c.embedded, nil, nil).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.target, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.words) {
			t.Errorf("embedded %v, %s: %d %.100s", c.embedded, c.target, w.Code, w.Body)
		}
	}
}

func TestRedirectPages(t *testing.T) {
	handler := redirectPages(func(r store.RoomID) (string, bool) {
		return "https://n2.example.org", r == store.RoomID{Name: "abc"}
	}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for _, c := range []struct {
		name, method, target, cookie string
		status                       int
		location                     string
	}{
		{"home elsewhere", "GET", "/call/abc", "", 307, "https://n2.example.org/call/abc?redirect=0"},
		{"asks to stay", "GET", "/call/abc?redirect=0", "", 200, ""},
		{"with a login here", "GET", "/call/abc", "1", 200, ""},
		{"logged out", "GET", "/call/abc", "0", 307, "https://n2.example.org/call/abc?redirect=0"},
		{"without a home", "GET", "/call/def", "", 200, ""},
		{"no room at all", "GET", "/call/", "", 200, ""},
		{"of another backend", "GET", "/call/x~abc", "", 200, ""},
		{"another page", "GET", "/", "", 200, ""},
		{"another method", "POST", "/call/abc", "", 200, ""},
		{"slashes in the token", "GET", "/call//evil.example.org", "", 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, nil)
			if c.cookie != "" {
				r.AddCookie(&http.Cookie{Name: loginCookie, Value: c.cookie})
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("Location") != c.location {
				t.Errorf("%d to %q, want %d to %q", w.Code, w.Header().Get("Location"), c.status, c.location)
			}
		})
	}
}
