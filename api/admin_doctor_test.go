package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func (f *facts) Examine(context.Context) (any, error) {
	return map[string]string{"room": "r", "ticket": "t"}, nil
}

func TestAdminDoctor(t *testing.T) {
	a, _ := newAdmin(t)
	const want = `{"room":"r","ticket":"t"}`
	if w := ask(t, a, "POST", "/admin/v1/doctor", operateToken, ""); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, a, "POST", "/admin/v1/doctor", operateToken, `{"url":"x"}`); w.Code != http.StatusBadRequest {
		t.Errorf("with a body: %d", w.Code)
	}
	if w := ask(t, a, "POST", "/admin/v1/doctor", viewToken, ""); w.Code != http.StatusForbidden {
		t.Errorf("who may only look gets a ticket: %d", w.Code)
	}
}
