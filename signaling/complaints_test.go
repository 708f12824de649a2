package signaling_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestComplaints: the log says what keeps a Nextcloud out, once a minute each, and nothing
// that a stranger wrote.
func TestComplaints(t *testing.T) {
	log := new(safeLog)
	c := newCluster(t, 1, func(_ *signaling.Config, d *signaling.Deps) {
		d.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	people(c)
	nc, u, body := c.nextcloud, c.nodes[0].url(), []byte(`{"type":"message","message":{"data":{}}}`)
	nc.Refuse("auth", wire.CodeInvalidRequest)
	for range 2 {
		for secretOf, base := range map[string]string{"guessed": nc.URL(), secret: "https://elsewhere.example"} {
			h := http.Header{}
			backend.Sign(h, []byte(secretOf), base, body)
			if status, _ := nc.PostHeader(u, "room", h, body); status != http.StatusForbidden {
				t.Errorf("%s: status %d", base, status)
			}
		}
		for _, url := range []string{nc.AuthURL(), "https://elsewhere.example/"} {
			client := signalingtest.Dial(t, u)
			client.Welcome()
			client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, Auth: &wire.Auth{URL: url, Params: params("alice")}}})
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	for words, url := range map[string]string{
		"a Nextcloud that is not served": "be added\"\n",
		"was made with another secret":   "url=" + nc.URL() + "/",
		"refuses the questions":          "url=" + nc.URL() + "/",
	} {
		if lines := bytes.Count(log.b.Bytes(), []byte(words)); lines != 1 || !strings.Contains(log.b.String(), url) {
			t.Errorf("%q: %d lines in\n%s", words, lines, log.b.String())
		}
	}
	if strings.Contains(log.b.String(), "elsewhere") {
		t.Errorf("the log repeats what anybody may write:\n%s", log.b.String())
	}
}
