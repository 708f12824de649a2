package signaling_test

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/turn"
)

const turnKey = "key-of-the-recorder"

// withTURN names TURN servers to all nodes.
func withTURN(t *testing.T) option {
	t.Helper()
	uris, err := turn.ParseTURN([]string{"turn:turn.example.org?transport=udp", "turns:turn.example.org:443"})
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *signaling.Config, _ *signaling.Deps) {
		cfg.TURN = turn.Servers{TURN: uris, Secret: "north", Lifetime: time.Hour}
		cfg.TURNKey = turnKey
	}
}

// ask asks for credentials; header is the key there, "" for none.
func ask(t *testing.T, url, header string) (status int, answer map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		req.Header.Set("X-TURN-API-Key", header)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("%s: Cache-Control %q", url, got)
	}
	return resp.StatusCode, answer
}

// TestTURNCredentials: who knows the key gets credentials that TURN servers compute alike.
func TestTURNCredentials(t *testing.T) {
	c := newCluster(t, 1, withTURN(t))
	servers := turn.Servers{Secret: "north", Lifetime: time.Hour}
	for _, path := range []string{"/turn/credentials", "/standalone-signaling/turn/credentials"} {
		for _, tt := range []struct{ query, header, user string }{
			{"?service=turn&username=alice&key=" + turnKey, "", "alice"},
			{"?service=turn&username=alice&api=" + turnKey, "", "alice"},
			{"?service=turn&username=alice", turnKey, "alice"},
			{"?service=turn&api=" + turnKey, "", ""},
		} {
			status, answer := ask(t, c.nodes[0].url()+path+tt.query, tt.header)
			name, _ := answer["username"].(string)
			expiry, user, _ := strings.Cut(name, ":")
			at, err := strconv.ParseInt(expiry, 10, 64)
			until := time.Until(time.Unix(at, 0))
			want, _ := servers.Credentials(user, time.Unix(at, 0).Add(-time.Hour))
			if status != http.StatusOK || err != nil || until < 59*time.Minute || until > time.Hour || answer["password"] != want.Password || answer["ttl"] != 3600.0 {
				t.Errorf("%s: %d, %v", tt.query, status, answer)
			}
			if !reflect.DeepEqual(answer["uris"], []any{"turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:443?transport=tcp"}) || len(answer) != 4 {
				t.Errorf("%s: %v", tt.query, answer)
			}
			if user == "" || tt.user != "" && user != tt.user {
				t.Errorf("%s: for %q", tt.query, user)
			}
		}
	}
}

// TestTURNCredentialsRefused: an error for each thing that can be wrong.
func TestTURNCredentialsRefused(t *testing.T) {
	with, without := newCluster(t, 1, withTURN(t)), newCluster(t, 1)
	keyless := newCluster(t, 1, withTURN(t), func(cfg *signaling.Config, _ *signaling.Deps) { cfg.TURNKey = "" })
	for _, tt := range []struct {
		c      *cluster
		query  string
		status int
		code   string
	}{
		{with, "", http.StatusBadRequest, "invalid_request"},
		{with, "?service=turn", http.StatusBadRequest, "invalid_request"},
		{with, "?service=stun&key=" + turnKey, http.StatusBadRequest, "invalid_request"},
		{with, "?service=turn&username=%00&key=" + turnKey, http.StatusBadRequest, "invalid_request"},
		{with, "?service=turn&key=another", http.StatusForbidden, "invalid_key"},
		{without, "?service=turn&key=" + turnKey, http.StatusNotFound, "no_turn"},
		{keyless, "?service=turn&key=" + turnKey, http.StatusNotFound, "no_turn"},
	} {
		if status, answer := ask(t, tt.c.nodes[0].url()+"/turn/credentials"+tt.query, ""); status != tt.status || answer["code"] != tt.code {
			t.Errorf("%s: %d, %v; want %d, %s", tt.query, status, answer, tt.status, tt.code)
		}
	}
}

// TestTURNKeyGuessed: whoever tries keys has to wait, also with the right one.
func TestTURNKeyGuessed(t *testing.T) {
	c := newCluster(t, 1, withTURN(t), func(cfg *signaling.Config, _ *signaling.Deps) { cfg.Dev = false })
	url := c.nodes[0].url() + "/turn/credentials?service=turn&key="
	guesses := 0
	for ; guesses < 100; guesses++ {
		status, _ := ask(t, url+strconv.Itoa(guesses), "")
		if status == http.StatusTooManyRequests {
			break
		} else if status != http.StatusForbidden {
			t.Fatalf("guess %d: %d", guesses, status)
		}
	}
	if status, answer := ask(t, url+turnKey, ""); guesses != 10 || status != http.StatusTooManyRequests || answer["code"] != "too_many_requests" {
		t.Errorf("%d guesses were free; the right key: %d, %v", guesses, status, answer)
	}
}
