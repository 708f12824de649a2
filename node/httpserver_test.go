package node

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A panic ends its request and is logged, once and without the client's address.
func TestSurvivingAPanic(t *testing.T) {
	var log bytes.Buffer
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
		panic("broken")
	}), slog.New(slog.NewTextHandler(&log, nil)))
	server.Start()
	for _, path := range []string{"/abort", "/"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := server.Client().Do(r); err == nil {
			resp.Body.Close()
			t.Errorf("%s: answered %s", path, resp.Status)
		}
	}
	server.Close() // waits for the handlers
	if text := log.String(); strings.Count(text, "a request ended in a panic") != 1 || !strings.Contains(text, "error=broken") || strings.Contains(text, "127.0.0.1:") {
		t.Errorf("log: %s", text)
	}
}
