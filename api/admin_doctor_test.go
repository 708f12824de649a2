package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func (f *facts) Examine(context.Context) (Examination, error) {
	return Examination{
		Findings: []Finding{{Check: "secret", About: "https://cloud.example", From: "n1", Result: "ok", Text: "same"}},
		Room:     "r", Ticket: "t",
	}, nil
}

func TestAdminDoctor(t *testing.T) {
	a, _ := newAdmin(t)
	const want = `{"findings":[{"check":"secret","about":"https://cloud.example","from":"n1","result":"ok","text":"same"}],"room":"r","ticket":"t"}`
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
