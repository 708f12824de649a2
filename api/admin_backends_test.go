package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestAdminBackends(t *testing.T) {
	a, _ := newAdmin(t)
	for _, c := range []struct {
		method, path, token, body string
		status                    int
		holds                     string
	}{
		{"GET", "/admin/v1/backends", viewToken, "", http.StatusOK, `"url":"https://cloud.example"`},
		{"POST", "/admin/v1/backends", operateToken, `{"url":"https://new.example","secret":"s","max_sessions":3}`, http.StatusCreated, `"id":"def"`},
		{"POST", "/admin/v1/backends", operateToken, `{"secret":"s"}`, http.StatusBadRequest, "url"},
		{"POST", "/admin/v1/backends", operateToken, `{"url":"https://new.example","sekret":"s"}`, http.StatusBadRequest, "sekret"},
		{"POST", "/admin/v1/backends", viewToken, `{"url":"https://new.example","secret":"s"}`, http.StatusForbidden, "operate"},
		{"DELETE", "/admin/v1/backends/def", operateToken, "", http.StatusOK, `"id":"def"`},
		{"DELETE", "/admin/v1/backends/abc", operateToken, "", http.StatusNotFound, "backends"},
	} {
		w := ask(t, a, c.method, c.path, c.token, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.holds) || strings.Contains(w.Body.String(), "secret\":") {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
}
