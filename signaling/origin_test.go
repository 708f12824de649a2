package signaling_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/talkd/talkd/signaling/signalingtest"
)

// TestForeignPage: a page of another site cannot come with the cookies of the one that
// it attacks (checklist S21).
func TestForeignPage(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	here, there := c.nodes[0].url(), c.nodes[1].url()
	host := strings.TrimPrefix(here, "http://")
	cloud := c.nextcloud.URL()
	for _, page := range []struct {
		origin, cookie string
		want           int
	}{
		{"https://evil.example", "nc_session_id=x", http.StatusForbidden},
		{"http://" + host + ".evil.example", "nc_session_id=x", http.StatusForbidden},
		{"https://evil.example/" + host, "nc_session_id=x", http.StatusForbidden},
		{cloud + ".evil.example", "nc_session_id=x", http.StatusForbidden},
		{"null", "nc_session_id=x", http.StatusForbidden},
		{"https://evil.example", "", http.StatusSwitchingProtocols}, // gains nothing
		{"", "nc_session_id=x", http.StatusSwitchingProtocols},      // no page
		{here, "nc_session_id=x", http.StatusSwitchingProtocols},
		{"https://" + host, "nc_session_id=x", http.StatusSwitchingProtocols}, // TLS is the proxy's
		{there, "nc_session_id=x", http.StatusSwitchingProtocols},
		{cloud, "nc_session_id=x", http.StatusSwitchingProtocols},
	} {
		header := http.Header{}
		if page.origin != "" {
			header.Set("Origin", page.origin)
		}
		if page.cookie != "" {
			header.Set("Cookie", page.cookie)
		}
		for _, path := range []string{"/spreed", "/standalone-signaling/spreed?room=room"} {
			if got := signalingtest.DialStatus(t, here+path, header); got != page.want {
				t.Errorf("%s of %q with cookie %q: %d, want %d", path, page.origin, page.cookie, got, page.want)
			}
		}
	}
}
