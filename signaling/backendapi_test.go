package signaling_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestBackendRequestRefused: the right checksum, a body of bounded size, and a
// request of the protocol, or the status says what is missing.
func TestBackendRequestRefused(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	nc, u := c.nextcloud, c.nodes[0].url()
	body := []byte(`{"type":"message","message":{"data":{"n":1}}}`)
	signed := func(secret, base string, b []byte) http.Header {
		h := http.Header{}
		backend.Sign(h, []byte(secret), base, b)
		return h
	}
	large := []byte(`{"type":"message","message":{"data":"` + strings.Repeat("x", backend.MaxRequest) + `"}}`)
	for _, tt := range []struct {
		name   string
		header http.Header
		body   []byte
		status int
	}{
		{"right", signed(secret, nc.URL(), body), body, http.StatusOK},
		{"no checksum", http.Header{}, body, http.StatusForbidden},
		{"wrong secret", signed("guessed", nc.URL(), body), body, http.StatusForbidden},
		{"another body", signed(secret, nc.URL(), []byte("{}")), body, http.StatusForbidden},
		{"another backend", signed(secret, "https://elsewhere.example", body), body, http.StatusForbidden},
		{"not JSON", signed(secret, nc.URL(), []byte("x")), []byte("x"), http.StatusBadRequest},
		{"unknown type", signed(secret, nc.URL(), []byte(`{"type":"dance"}`)), []byte(`{"type":"dance"}`), http.StatusBadRequest},
		{"too large", signed(secret, nc.URL(), large), large, http.StatusRequestEntityTooLarge},
	} {
		for _, path := range []string{u, u + "/standalone-signaling"} {
			if status, text := nc.PostHeader(path, "room", tt.header, tt.body); status != tt.status || !json.Valid([]byte(text)) {
				t.Errorf("%s: status %d: %s", tt.name, status, text)
			}
		}
	}
}

// TestFeaturesHeader: a Nextcloud refuses servers that do not say what they can. Today's
// signaling server enters no room of one that does not say it as it answers the
// WebSocket.
func TestFeaturesHeader(t *testing.T) {
	c := newCluster(t, 1)
	for _, path := range []string{"/api/v1/welcome", "/standalone-signaling/api/v1/welcome"} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.nodes[0].url()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d: %v", resp.StatusCode, err)
		}
		var welcome map[string]string
		if json.Unmarshal(body, &welcome) != nil || welcome["nextcloud-spreed-signaling"] == "" || welcome["version"] != "test" {
			t.Errorf("welcome %s", body)
		}
		if f := resp.Header.Get(backend.HeaderFeatures); f != strings.Join(signaling.Config{}.Features(), ", ") || f == "" {
			t.Errorf("features %q", f)
		}
	}
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, resp, err := websocket.Dial(t.Context(), c.nodes[0].url()+"/spreed", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = ws.CloseNow()
	if f := resp.Header.Get(backend.HeaderFeatures); f != strings.Join(signaling.Config{}.Features(), ", ") {
		t.Errorf("features of the WebSocket: %q", f)
	}
}

// TestOtherBackend: rooms of two Nextclouds never meet, also when their names
// are equal, and the one cannot tell the other's rooms anything.
func TestOtherBackend(t *testing.T) {
	other := signalingtest.NewNextcloud(t, "another secret")
	c := newCluster(t, 1, func(_ *signaling.Config, d *signaling.Deps) {
		instances := []backend.Instance{other.Instance(), {URL: "https://unused.example", Secret: "x"}}
		instances = append(instances, nextcloudOf(t, d))
		registry, err := backend.NewRegistry(instances)
		if err != nil {
			t.Fatal(err)
		}
		client, err := backend.NewClient(backend.Config{}, registry, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		d.Registry, d.Backends = registry, client
	})
	people(c)
	other.AddUser("eve", "Eve")
	other.SetRoom("room", signalingtest.Room{})
	alice := c.enter(c.nodes[0], "alice")
	eve := signalingtest.Dial(t, c.nodes[0].url())
	eve.Welcome()
	eve.Hello(other.AuthURL(), params("eve"))
	eve.Join("room", "nc-eve")
	eve.ExpectEvent(wire.TargetRoom, wire.EventJoin)
	other.Message(c.nodes[0].url(), "room", map[string]int{"n": 1})
	eve.ExpectEvent(wire.TargetRoom, wire.EventMessage)
	other.Delete(c.nodes[0].url(), "room", "alice", "eve")
	eve.ExpectEvent(wire.TargetRoomList, wire.EventDisinvite)
	// Nor can their clients talk to each other, whoever knows whose id.
	eve.Say(wire.Recipient{Type: wire.ToSession, SessionID: alice.Session}, "hello alice")
	eve.Barrier()
	alice.Barrier()
	alice.ExpectNone("anything of the other room", func(m *wire.ServerMessage) bool { return m.Event != nil || m.Message != nil })
}

// TestControlStaysInTheRoom: the permission to control is one for the room; it
// reaches sessions and users there, and nobody elsewhere.
func TestControlStaysInTheRoom(t *testing.T) {
	c, alice, bob, _ := call(t)
	c.nextcloud.AddUser("dave", "Dave")
	c.nextcloud.SetRoom("other", signalingtest.Room{})
	dave := c.come(c.nodes[1], "dave")
	dave.Join("other", "nc-dave")
	control := func(from *signalingtest.Client, to wire.Recipient) {
		from.Send(wire.ClientMessage{Type: wire.TypeControl, Control: &wire.Send{Recipient: to, Data: json.RawMessage(`{"action":"forceMute"}`)}})
	}
	session, user := wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, wire.Recipient{Type: wire.ToUser, UserID: "bob"}
	control(dave, session)
	control(dave, user)
	dave.Say(session, "that was me")
	bob.Expect("message", func(m *wire.ServerMessage) bool { return m.Message != nil && m.Message.Sender.UserID == "dave" })
	bob.ExpectNone("control from another room", func(m *wire.ServerMessage) bool { return m.Control != nil })
	everybody := []wire.Recipient{session, user, {Type: wire.ToRoom}, {Type: wire.ToCall}}
	for _, to := range everybody {
		control(alice, to)
		if m := bob.ExpectType(wire.TypeControl); m.Control.Sender.SessionID != alice.Session || m.Control.Sender.Type != to.Type {
			t.Errorf("control of %+v", m.Control.Sender)
		}
	}
	// Without the permission it reaches nobody, by whatever way.
	c.nextcloud.Participants(c.nodes[0].url(), "room",
		signalingtest.Caller{Session: "nc-alice", UserID: "alice", InCall: 7, Permissions: []string{backend.PermissionPublishMedia}})
	alice.ExpectEvent(wire.TargetParticipants, wire.EventUpdate)
	for _, to := range everybody {
		control(alice, to)
	}
	hears(t, alice, bob, "not mute")
	bob.ExpectNone("control without the permission", func(m *wire.ServerMessage) bool { return m.Control != nil })
}

// TestRoomHearsAll: what is said to the room or the call is for all who are there, also
// if the client names a session or a user besides.
func TestRoomHearsAll(t *testing.T) {
	_, alice, bob, carol := call(t)
	for _, to := range []wire.Recipient{
		{Type: wire.ToRoom, SessionID: bob.Session}, {Type: wire.ToRoom, SessionID: "nobody", UserID: "bob"},
		{Type: wire.ToCall, SessionID: alice.Session},
	} {
		alice.Say(to, "all of you")
		for _, x := range []*signalingtest.Client{bob, carol} {
			if m := x.ExpectType(wire.TypeMessage); m.Message.Sender.Type != to.Type {
				t.Errorf("%+v hears %+v", to, m.Message.Sender)
			}
		}
	}
}

// TestDisinvitedOnce: who is thrown out of the room hears so once, on the home's
// own node too.
func TestDisinvitedOnce(t *testing.T) {
	c, alice, bob, _ := call(t)
	c.nextcloud.Disinvite(c.nodes[2].url(), "room", []string{"alice", "bob"}, nil)
	for _, x := range []*signalingtest.Client{alice, bob} {
		x.ExpectEvent(wire.TargetRoomList, wire.EventDisinvite)
		x.Barrier()
		x.ExpectNone("the same again", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventDisinvite })
	}
}

// nextcloudOf is the instance that the cluster has configured.
func nextcloudOf(t *testing.T, d *signaling.Deps) backend.Instance {
	t.Helper()
	return d.Places.(*testNode).c.nextcloud.Instance()
}

// TestPing: a Nextcloud is told who is still there, by the home alone.
func TestPing(t *testing.T) {
	c := newCluster(t, 2, func(cfg *signaling.Config, _ *signaling.Deps) {
		cfg.BackendPing = 50 * time.Millisecond
		cfg.RoomLinger = 200 * time.Millisecond
	})
	people(c)
	c.pin("room", c.nodes[1])
	c.enter(c.nodes[0], "alice")
	c.enter(c.nodes[1], "bob")
	c.nextcloud.ExpectQuestion("ping", func(q signalingtest.Question) bool {
		return q.Kind == "ping" && q.RoomID == "room" && len(q.Entries) == 2
	})
}

// TestRoomLists: what happens to rooms is told to their users wherever they are,
// once.
func TestRoomLists(t *testing.T) {
	c := newCluster(t, 3)
	people(c)
	alice := c.come(c.nodes[0], "alice")
	bob := c.come(c.nodes[2], "bob")
	u, nc := c.nodes[1].url(), c.nextcloud
	post := func(body string) {
		t.Helper()
		if status, text := nc.Post(u, "new", []byte(body)); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, text)
		}
	}
	eventually(t, "links", func() bool {
		post(`{"type":"update","update":{"userids":["alice","bob"],"properties":{"probe":true}}}`)
		alice.Barrier()
		bob.Barrier()
		return len(alice.Drain()) > 0 && len(bob.Drain()) > 0
	})
	post(`{"type":"invite","invite":{"userids":["bob"],"alluserids":["alice","bob"],"properties":{"n":1}}}`)
	if e := bob.ExpectEvent(wire.TargetRoomList, wire.EventInvite); e.Invite.RoomID != "new" || string(e.Invite.Properties) != `{"n":1}` {
		t.Errorf("invite %+v", e.Invite)
	}
	alice.Expect("update", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Type == wire.EventUpdate && string(m.Event.Update.Properties) == `{"n":1}`
	})
	post(`{"type":"delete","delete":{"userids":["alice","bob"]}}`)
	for _, x := range []*signalingtest.Client{alice, bob} {
		if e := x.ExpectEvent(wire.TargetRoomList, wire.EventDisinvite); e.Disinvite.Reason != wire.ReasonDeleted {
			t.Errorf("reason %q", e.Disinvite.Reason)
		}
		x.Barrier()
		x.ExpectNone("the same again", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventDisinvite })
	}
}

// TestNotifyBeforeTheHomeIsKnown: the room hears what comes to a node that has not been
// told yet where its home is.
func TestNotifyBeforeTheHomeIsKnown(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[0])
	alice := c.enter(c.nodes[0], "alice")
	room, late := c.room("room"), c.nodes[1]
	eventually(t, "the home is known", func() bool { _, ok := late.Lookup(room); return ok })
	c.mu.Lock()
	delete(late.view, room)
	c.mu.Unlock()
	c.nextcloud.Message(late.url(), "room", "hello")
	alice.ExpectEvent(wire.TargetRoom, wire.EventMessage)
	if _, ok := late.Lookup(room); ok {
		t.Error("the node was told meanwhile")
	}
}

// TestNotifyWithoutHome: nobody is there to be told, and nothing is placed.
func TestNotifyWithoutHome(t *testing.T) {
	c := newCluster(t, 2)
	hub, room := c.nodes[0].hub, c.room("empty")
	in := func(changed ...string) backend.Request {
		r := backend.Request{Type: backend.TypeInCall, InCall: &backend.InCall{InCall: 1}}
		for _, id := range changed {
			var p backend.Participant
			if err := json.Unmarshal([]byte(`{"sessionId":"`+id+`","inCall":1}`), &p); err != nil {
				t.Fatal(err)
			}
			r.InCall.Changed = append(r.InCall.Changed, p)
		}
		return r
	}
	ctx := context.Background()
	if err := hub.Notify(ctx, room, in("nobody")); !errors.Is(err, signaling.ErrNoSession) {
		t.Errorf("in call: %v", err)
	}
	if err := hub.Notify(ctx, room, backend.Request{Type: backend.TypeDelete, Delete: &backend.RoomDelete{}}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if s, err := hub.RoomStatus(ctx, room); err != nil || len(s.Sessions) != 0 {
		t.Errorf("status %+v: %v", s, err)
	}
	if _, placed := c.nodes[0].Lookup(room); placed {
		t.Error("asking placed the room")
	}
	// With a home elsewhere the answer comes from there.
	people(c)
	c.pin("room", c.nodes[1])
	c.enter(c.nodes[0], "alice")
	room = c.room("room")
	if err := hub.Notify(ctx, room, in("nobody")); !errors.Is(err, signaling.ErrNoSession) {
		t.Errorf("in call: %v", err)
	}
	if err := hub.Notify(ctx, room, in("nc-alice")); err != nil {
		t.Errorf("in call: %v", err)
	}
	s, err := hub.RoomStatus(ctx, room)
	if err != nil || len(s.Sessions) != 1 || s.Sessions[0].InCall != 1 || s.Sessions[0].UserID != "alice" || s.Since.IsZero() {
		t.Errorf("status %+v: %v", s, err)
	}
}

// embedded is a backend in the same process. It knows everybody who tells a
// name and lets them into one room, a guest with the session of that name only.
type embedded struct {
	left  chan backend.RoomRequest // of 8 at most
	hangs bool                     // asked for strangers, and for rooms
}

func newEmbedded() *embedded { return &embedded{left: make(chan backend.RoomRequest, 8)} }

func (e *embedded) Authenticate(ctx context.Context, params json.RawMessage) (backend.AuthResponse, error) {
	var p struct{ UserID, Guest string }
	err := json.Unmarshal(params, &p)
	switch known := p.UserID != "" || p.Guest != ""; {
	case !known && e.hangs:
		<-ctx.Done()
		return backend.AuthResponse{}, errors.Join(wire.ErrAuthFailed, ctx.Err())
	case !known, err != nil:
		return backend.AuthResponse{}, wire.ErrInvalidTicket
	}
	return backend.AuthResponse{UserID: p.UserID, GuestID: p.Guest}, nil
}

func (e *embedded) JoinRoom(ctx context.Context, r backend.RoomRequest) (backend.RoomResponse, error) {
	if e.hangs {
		<-ctx.Done()
		return backend.RoomResponse{}, errors.Join(wire.ErrRoomJoinFailed, ctx.Err())
	}
	if r.Room.Name != "room" || r.UserID == "" && r.GuestID != string(r.SessionID) {
		return backend.RoomResponse{}, wire.ErrNoSuchRoom
	}
	return backend.RoomResponse{RoomID: r.Room.Name}, nil
}

func (e *embedded) LeaveRoom(_ context.Context, r backend.RoomRequest) error {
	e.left <- r
	return nil
}

// TestEmbeddedHangs: whoever waits for its answer is told.
func TestEmbeddedHangs(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, d *signaling.Deps) {
		d.Embedded, cfg.JoinTimeout = &embedded{hangs: true}, 50*time.Millisecond
	})
	client := signalingtest.Dial(t, c.nodes[0].url())
	client.Welcome()
	own := c.nodes[0].url() + signalingtest.Endpoint
	stranger := &wire.Hello{Version: wire.Version, Auth: &wire.Auth{URL: own, Params: json.RawMessage(`{}`)}}
	if answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: stranger}); answer.Error == nil || answer.Error.Code != wire.CodeAuthFailed {
		t.Errorf("hello: %s", wire.Encode(answer))
	}
	client.Hello(own, json.RawMessage(`{"userid":"alice"}`))
	if answer := client.AskJoin("room", "s"); answer.Error == nil || answer.Error.Code != wire.CodeRoomJoinFailed {
		t.Errorf("join: %s", wire.Encode(answer))
	}
}

// TestEmbedded: the URL of any node means the embedded backend.
func TestEmbedded(t *testing.T) {
	e := newEmbedded()
	c := newCluster(t, 2, func(_ *signaling.Config, d *signaling.Deps) { d.Embedded = e })
	for i, other := range []*testNode{c.nodes[1], c.nodes[0]} {
		client := signalingtest.Dial(t, c.nodes[i].url())
		client.Welcome()
		client.Hello(other.url()+signalingtest.Endpoint, json.RawMessage(`{"userid":"alice"}`))
		if answer := client.AskJoin("nowhere", "s"); answer.Error == nil || answer.Error.Code != wire.CodeNoSuchRoom {
			t.Errorf("answer %s", wire.Encode(answer))
		}
		client.Join("room", "s")
		client.Bye()
		if r := <-e.left; r.Room != (store.RoomID{Name: "room"}) || r.SessionID != "s" || r.UserID != "alice" {
			t.Errorf("left %+v", r)
		}
	}
}

// TestEmbeddedHelloV2: the embedded backend makes no tokens.
func TestEmbeddedHelloV2(t *testing.T) {
	c := newCluster(t, 1, func(_ *signaling.Config, d *signaling.Deps) { d.Embedded = newEmbedded() })
	client := signalingtest.Dial(t, c.nodes[0].url())
	answer := client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version2,
		Auth:    &wire.Auth{URL: c.nodes[0].url() + signalingtest.Endpoint, Params: c.nextcloud.TokenParams(c.nextcloud.Token("alice", "Alice"))},
	}})
	if answer.Error == nil || answer.Error.Code != wire.CodeHelloVersion {
		t.Errorf("answer %s", wire.Encode(answer))
	}
}
