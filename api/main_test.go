package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/talkd/talkd/cluster/guesses"
	"github.com/talkd/talkd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// t0 is when tests happen.
var t0 = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

const (
	password = "correct horse"
	otherURL = "https://n2.example.org"
)

// clock is moved by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// cluster applies what is proposed to a real state, as the log would.
type cluster struct {
	mu    sync.Mutex
	state *store.State
	index uint64
	err   error // instead of applying
}

func (c *cluster) Propose(_ context.Context, cmd store.Command) (store.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return store.Result{}, c.err
	}
	entry, err := cmd.Encode()
	if err != nil {
		return store.Result{}, err
	}
	c.index++
	applied, err := c.state.ApplyBatch([]store.Entry{{Index: c.index, Data: entry}})
	if err != nil {
		return store.Result{}, err
	}
	return applied[0].Result, applied[0].Result.Err
}

// sealer has the size of the real one, and refuses what it did not seal.
type sealer struct{ none bool }

func (s *sealer) Seal(plain []byte) string {
	if s.none {
		return ""
	}
	tag := sha256.Sum256(append([]byte("key"), plain...))
	return base64.RawURLEncoding.EncodeToString(append(append([]byte("1"), tag[:]...), plain...))
}

func (s *sealer) Open(sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) < 33 {
		return nil, errors.New("not sealed")
	}
	tag := sha256.Sum256(append([]byte("key"), b[33:]...))
	if !bytes.Equal(tag[:], b[1:33]) {
		return nil, errors.New("not sealed")
	}
	return b[33:], nil
}

// calls is a home that knows its rooms.
type calls struct {
	mu      sync.Mutex
	rooms   map[string]*CallStatus
	changed []CallParticipant // of the last InCall
	all     []CallParticipant
	ended   string
	err     error
}

func (c *calls) enter(room, session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rooms[room] == nil {
		c.rooms[room] = new(CallStatus)
	}
	c.rooms[room].Sessions = append(c.rooms[room].Sessions, CallSession{SessionID: session})
}

func (c *calls) InCall(_ context.Context, room string, changed, all []CallParticipant) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.changed, c.all = changed, all
	status := c.rooms[room]
	found := false
	for _, p := range changed {
		for i := range status.Sessions {
			if status.Sessions[i].SessionID == p.SessionID {
				status.Sessions[i].InCall, found = p.InCall, true
				status.Since = t0
			}
		}
	}
	if !found {
		return ErrNoSession
	}
	return nil
}

func (c *calls) End(_ context.Context, room string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = room
	return c.err
}

func (c *calls) Status(_ context.Context, room string) (CallStatus, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.rooms[room] == nil {
		return CallStatus{}, c.err
	}
	s := *c.rooms[room]
	s.Sessions = append([]CallSession(nil), s.Sessions...)
	return s, nil
}

// places sends every room that is in it to another node.
type places map[string]string

func (p places) Elsewhere(room store.RoomID) (string, bool) {
	url, ok := p[room.String()]
	return url, ok
}

// fixture is a Server with everything behind it.
type fixture struct {
	*Server
	t       testing.TB
	clock   *clock
	cluster *cluster
	sealing *sealer
	calls   *calls
	places  places
	reg     *prometheus.Registry
}

func newFixture(t testing.TB, change ...func(*Config)) *fixture {
	t.Helper()
	st, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{
		t: t, clock: &clock{at: t0}, cluster: &cluster{state: st}, sealing: new(sealer),
		calls: &calls{rooms: map[string]*CallStatus{}}, places: places{}, reg: prometheus.NewRegistry(),
	}
	cfg := Config{PublicURL: "https://n1.example.org/"}
	for _, c := range change {
		c(&cfg)
	}
	f.Server, err = New(cfg, Deps{
		DB: st.DB(), Proposer: f.cluster, Sealer: f.sealing, Places: f.places, Calls: f.calls,
		Guesses: guesses.New(guesses.Config{Now: f.clock.now, Registerer: f.reg}),
		Origins: func() []string { return []string{"https://n1.example.org", otherURL} },
		Logger:  slog.New(slog.DiscardHandler), Registerer: f.reg, Now: f.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.passwords = newPasswords(64) // tests check many
	return f
}

// user makes an account, without the cost of a password unless one is wanted.
func (f *fixture) user(id string) {
	f.t.Helper()
	u := store.User{ID: id, DisplayName: strings.ToUpper(id[:1]) + id[1:], PasswordHash: f.passwords.unknown}
	if _, err := f.cluster.Propose(f.t.Context(), store.NewCreateUser(f.clock.now(), u)); err != nil {
		f.t.Fatal(err)
	}
}

// login makes an account with a login token.
func (f *fixture) login(id string) (token string) {
	f.t.Helper()
	f.user(id)
	token = "token-of-" + id
	l := store.Login{TokenHash: store.HashToken(token), User: id, Expires: f.clock.now().Add(time.Hour)}
	if _, err := f.cluster.Propose(f.t.Context(), store.NewPutLogin(f.clock.now(), l)); err != nil {
		f.t.Fatal(err)
	}
	return token
}

// answer is an answer, unpacked.
type answer struct {
	status int
	header http.Header
	meta   ocsMeta
	data   json.RawMessage
	body   []byte
}

func (a answer) code() string {
	var d struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(a.data, &d) // not each answer has one
	return d.Error
}

// into unpacks the data.
func into[T any](f *fixture, a answer) T {
	f.t.Helper()
	var v T
	if err := json.Unmarshal(a.data, &v); err != nil {
		f.t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// do sends a request; a body that is no reader is sent as JSON.
func (f *fixture) do(method, path, token string, body any, change ...func(*http.Request)) answer {
	f.t.Helper()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		payload = bytes.NewReader(b)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, path, payload)
	r.Header.Set("OCS-APIRequest", "true")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), body: w.Body.Bytes()}
	var e struct {
		OCS struct {
			Meta ocsMeta         `json:"meta"`
			Data json.RawMessage `json:"data"`
		} `json:"ocs"`
	}
	if json.Unmarshal(a.body, &e) == nil {
		a.meta, a.data = e.OCS.Meta, e.OCS.Data
	}
	return a
}

const (
	ocs2  = "/ocs/v2.php"
	talk  = ocs2 + "/apps/spreed/api"
	rooms = talk + "/v4/room"
)

// ok sends a request that is to be answered with 200 or 201.
func (f *fixture) ok(method, path, token string, body any) answer {
	f.t.Helper()
	a := f.do(method, path, token, body)
	if a.status != http.StatusOK && a.status != http.StatusCreated {
		f.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// refused sends a request that is to be refused.
func (f *fixture) refused(status int, code, method, path, token string, body any) answer {
	f.t.Helper()
	a := f.do(method, path, token, body)
	if a.status != status || a.code() != code {
		f.t.Errorf("%s %s: %d %q, want %d %q: %s", method, path, a.status, a.code(), status, code, a.body)
	}
	return a
}

// conversation makes one.
func (f *fixture) conversation(token string, kind store.ConversationType) roomData {
	f.t.Helper()
	return into[roomData](f, f.ok("POST", rooms, token, map[string]any{"roomType": int(kind), "roomName": "Team"}))
}

// join takes a Talk session.
func (f *fixture) join(token, room, name string) roomData {
	f.t.Helper()
	return into[roomData](f, f.ok("POST", rooms+"/"+room+"/participants/active", token, map[string]any{"displayName": name}))
}

// counted reads a counter with one label, or none for "".
func (f *fixture) counted(name, label string) float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
