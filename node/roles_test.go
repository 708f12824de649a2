package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/api/apitest"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// running is a node in this process.
type running struct {
	*Node
	stop context.CancelFunc
	done chan error
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%s: %v", r.cfg.Node.ID, err)
	}
	r.done <- nil
}

// startNode runs a node on loopback until the test ends. It joins the first of
// the others.
func startNode(t *testing.T, id string, roles []string, others ...*running) *running {
	t.Helper()
	c := config.Default()
	c.Node = config.Node{ID: id, Data: filepath.Join(t.TempDir(), id), Roles: roles, Dev: true}
	for _, addr := range []*string{
		&c.HTTP.Listen, &c.Admin.Listen, &c.Cluster.Listen, &c.Cluster.GossipListen, &c.Media.Listen, &c.Relay.Listen,
	} {
		*addr = freePort(t)
	}
	if len(others) == 0 {
		c.Accounts.InitUser = "admin:rolesrolesroles"
	} else {
		var token string
		untilDone(t, func() (again bool, err error) {
			token, err = others[0].cluster.CreateJoinToken(t.Context(), 0)
			return errors.Is(err, cluster.ErrUnknownOutcome), err
		})
		c.Cluster.Join, c.Cluster.JoinToken = []string{others[0].cfg.Cluster.Advertise}, token
	}
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	n, err := New(c, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Node: n, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- n.Run(ctx) }()
	t.Cleanup(func() { r.end(t) })
	select {
	case <-n.Ready():
	case err := <-r.done:
		r.done <- nil
		t.Fatalf("%s: %v", id, err)
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready", id)
	}
	return r
}

// untilDone does something again as long as it is said to be worth it: where other
// tests take the processors, a leader that hears too little steps down.
func untilDone(t *testing.T, do func() (again bool, err error)) {
	t.Helper()
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for range 200 {
		again, err := do()
		switch {
		case err == nil:
			return
		case !again:
			t.Fatal(err)
		}
		t.Logf("again after: %v", err)
		<-pause.C
	}
	t.Fatal("not within 20 s")
}

// freePort is one that nobody has, TCP and UDP, below those that the kernel gives
// to whoever asks for any: other tests run beside this one.
func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		tcp, err := lc.Listen(t.Context(), "tcp", addr)
		if err != nil {
			continue
		}
		udp, err := lc.ListenPacket(t.Context(), "udp", addr)
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// patiently asks the API of a node again while that cannot answer.
func patiently(t *testing.T, ask func() error) {
	t.Helper()
	untilDone(t, func() (again bool, err error) {
		err = ask()
		var no *apitest.Refusal
		return errors.As(err, &no) && no.Status == http.StatusServiceUnavailable, err
	})
}

// talk asks the Talk API of a node.
func (r *running) talk(t *testing.T, method, path, login string, body, into any) {
	t.Helper()
	patiently(t, func() error { return apitest.Talk(t.Context(), method, r.cfg.HTTP.PublicURL, path, login, body, into) })
}

// logIn gets a token of the API.
func (r *running) logIn(t *testing.T) (token string) {
	t.Helper()
	patiently(t, func() (err error) {
		token, err = apitest.LogIn(t.Context(), r.cfg.HTTP.PublicURL, "admin", "rolesrolesroles")
		return err
	})
	return token
}

// enter logs in, joins the conversation and says hello, all at one node.
func (r *running) enter(t *testing.T, room string) *signalingtest.Client {
	t.Helper()
	login := r.logIn(t)
	var seat struct {
		SessionID string `json:"sessionId"`
	}
	r.talk(t, http.MethodPost, "/spreed/api/v4/room/"+room+"/participants/active", login, nil, &seat)
	var settings struct {
		Server          string
		HelloAuthParams map[string]json.RawMessage
	}
	r.talk(t, http.MethodGet, "/spreed/api/v3/signaling/settings?redirect=0&token="+room, login, nil, &settings)
	if settings.Server != r.cfg.HTTP.PublicURL {
		t.Errorf("settings that %s gives send to %s", r.cfg.Node.ID, settings.Server)
	}
	p := signalingtest.Dial(t, r.cfg.HTTP.PublicURL)
	p.Hello(r.cfg.HTTP.PublicURL+"/ocs/v2.php/apps/spreed/api/v3/signaling/backend", settings.HelloAuthParams[wire.Version])
	p.Join(room, wire.RoomSessionID(seat.SessionID))
	return p
}

func tell(t *testing.T, from, to *signalingtest.Client, text string) {
	t.Helper()
	from.Say(wire.Recipient{Type: wire.ToSession, SessionID: to.Session}, map[string]string{"type": "test", "text": text})
	to.Expect("message "+text, func(m *wire.ServerMessage) bool {
		return m.Message != nil && bytes.Contains(m.Message.Data, []byte(text))
	})
}

// A person uses a node without the database like any other, also when the
// server that it asks has gone.
func TestRoles(t *testing.T) {
	var servers []*running
	for i := range 3 {
		roles := []string{store.RoleServer, store.RoleSignaling, store.RoleMedia}
		if i == 2 {
			roles = []string{store.RoleServer}
		}
		servers = append(servers, startNode(t, fmt.Sprintf("s%d", i+1), roles, servers...))
	}
	client := startNode(t, "c1", []string{store.RoleSignaling, store.RoleMedia}, servers...)
	mediaOnly := startNode(t, "m1", []string{store.RoleMedia}, servers...)

	login := client.logIn(t)
	var room string
	patiently(t, func() (err error) {
		room, err = apitest.Create(t.Context(), client.cfg.HTTP.PublicURL, login, "Roles")
		return err
	})
	if room == "" {
		t.Fatal("no conversation")
	}
	ada, bob := client.enter(t, room), servers[0].enter(t, room)
	tell(t, ada, bob, "from the client node")
	tell(t, bob, ada, "to the client node")

	t.Run("a room at home on the node without the database", func(t *testing.T) {
		id := store.RoomID{Name: room}
		home, _ := client.cluster.Lookup(id)
		if home.Node != client.cluster.Self() {
			if _, err := client.cluster.Move(t.Context(), id, client.cluster.Self()); err != nil {
				t.Fatal(err)
			}
		}
		// Told by the home, which learns of it from the servers and asks them.
		client.talk(t, http.MethodPut, "/spreed/api/v4/room/"+room, login, map[string]any{"roomName": "Renamed"}, nil)
		for _, p := range []*signalingtest.Client{ada, bob} {
			p.Expect("the new name", func(m *wire.ServerMessage) bool { return bytes.Contains(mustJSON(t, m), []byte("Renamed")) })
		}
		cy := servers[1].enter(t, room)
		tell(t, cy, ada, "from another server")
	})

	t.Run("nodes that serve no clients", func(t *testing.T) {
		plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		for _, n := range []*running{servers[2], mediaOnly} {
			for path, want := range map[string]int{"/healthz": 200, "/call/abc?x=1": 307, "/": 307, "/spreed": 307} {
				q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.cfg.HTTP.PublicURL+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				a, err := plain.Do(q)
				if err != nil {
					t.Fatal(err)
				}
				a.Body.Close()
				if a.StatusCode != want {
					t.Errorf("%s %s: %s", n.cfg.Node.ID, path, a.Status)
				}
				if to := a.Header.Get("Location"); want == 307 && (!strings.HasSuffix(to, path) || strings.HasPrefix(to, n.cfg.HTTP.PublicURL)) {
					t.Errorf("%s %s sends to %s", n.cfg.Node.ID, path, to)
				}
			}
			if status := signalingtest.DialStatus(t, n.cfg.HTTP.PublicURL, nil); status != http.StatusNotFound {
				t.Errorf("a WebSocket to %s is answered %d", n.cfg.Node.ID, status)
			}
			for _, m := range client.cluster.Members() {
				if m.ID == n.cluster.Self() && m.Rooms > 0 {
					t.Errorf("%s is a home", m.ID)
				}
			}
		}
		// A server answers the API all the same, and sends elsewhere for sockets.
		var settings struct{ Server string }
		servers[2].talk(t, http.MethodGet, "/spreed/api/v3/signaling/settings", login, nil, &settings)
		if settings.Server == "" || settings.Server == servers[2].cfg.HTTP.PublicURL {
			t.Errorf("settings send to %q", settings.Server)
		}
	})

	t.Run("the server that is asked goes", func(t *testing.T) {
		poll(t, "three voters", func() bool {
			voters := 0
			for _, m := range servers[0].cluster.Members() {
				if m.Raft == cluster.RaftVoter {
					voters++
				}
			}
			return voters == len(servers)
		})
		current := client.forward.Current
		gone := current()
		for _, s := range servers {
			if s.cluster.Self() == gone {
				s.end(t)
			}
		}
		var rooms []json.RawMessage
		client.talk(t, http.MethodGet, "/spreed/api/v4/room", login, nil, &rooms)
		if len(rooms) == 0 || current() == gone {
			t.Errorf("%d conversations, asked is %s", len(rooms), current())
		}
		// Whoever is asked before all agree on a leader answers that one should try
		// again.
		follow := func(n *running) bool {
			s := n.cluster.Status()
			return s.Leader != "" && s.Leader != gone && s.Lease
		}
		poll(t, "one leader", func() bool {
			for _, s := range servers {
				if s.cluster.Self() != gone && !follow(s) {
					return false
				}
			}
			return follow(client)
		})
		client.talk(t, http.MethodPut, "/spreed/api/v4/room/"+room, login, map[string]any{"roomName": "Again"}, nil)
		dee := client.enter(t, room)
		tell(t, dee, ada, "after the server has gone")
	})
}

// poll waits for what is so sooner or later.
func poll(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) { // polling
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
