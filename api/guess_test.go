package api

import (
	"net/http/httptest"
	"testing"
)

func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ remote, want string }{
		{"198.51.100.1:4711", "198.51.100.1"},
		{"[2001:db8::1]:4711", "2001:db8::1"},
		{"[::ffff:198.51.100.1]:4711", "198.51.100.1"},
		{"@", "invalid IP"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.remote
		if got := clientOf(r).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.remote, got, c.want)
		}
	}
}
