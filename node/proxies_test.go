package node

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestBehindProxies(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"198.51.100.1:4711", "", "198.51.100.1:4711"},
		{"198.51.100.1:4711", "203.0.113.1", "198.51.100.1:4711"}, // nobody believes it
		{"10.0.0.1:4711", "203.0.113.1", "203.0.113.1:0"},
		{"10.0.0.1:4711", "1.1.1.1, 203.0.113.1, 10.9.9.9", "203.0.113.1:0"},
		{"10.0.0.1:4711", "1.1.1.1, unknown", "10.0.0.1:4711"},
		{"10.0.0.1:4711", "", "10.0.0.1:4711"},
		{"[::1]:4711", "2001:db8::1", "[2001:db8::1]:0"},
		{"[::ffff:10.0.0.1]:4711", "203.0.113.1", "203.0.113.1:0"},
		{"@", "203.0.113.1", "@"},
	} {
		var got string
		handler := behindProxies(trusted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s, %q: %s, want %s", c.remote, c.forwarded, got, c.want)
		}
		if r.RemoteAddr != c.remote {
			t.Errorf("%s: the caller's request was changed", c.remote)
		}
	}
}
