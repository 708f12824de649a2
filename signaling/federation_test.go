package signaling_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// onLoopback lets other servers be where those of the tests are.
func onLoopback(cfg *signaling.Config, _ *signaling.Deps) {
	cfg.FederationNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// host is how a Nextcloud stands in the name of a federated user.
func host(n *signalingtest.Nextcloud) string { return strings.TrimPrefix(n.URL(), "http://") }

// federatedToken is what the Nextcloud of a room gives to a user of another one.
func federatedToken(there, own *signalingtest.Nextcloud, id, name string, made time.Time) string {
	return there.TokenOf(federatedClaims(there, own, id, name, made))
}

func federatedClaims(there, own *signalingtest.Nextcloud, id, name string, made time.Time) jwt.MapClaims {
	return there.Claims(id+"@"+host(own), name, made)
}

// farRooms fills the Nextcloud of a cluster whose people go elsewhere.
func farRooms(c *cluster) { inhabitFar(c.nextcloud) }

func inhabitFar(nc *signalingtest.Nextcloud) {
	nc.AddUser("bob", "Bob")
	nc.SetRoom("here", signalingtest.Room{Properties: json.RawMessage(`{"name":"At home"}`)})
}

// federationNames are what stories between two Nextclouds name, with the signaling
// server of the one that people go to.
func federationNames(there, own *signalingtest.Nextcloud, server string) map[string]string {
	now := time.Now()
	return map[string]string{
		"own.authurl":   own.AuthURL(),
		"own.host":      host(own),
		"cloud":         there.URL(),
		"cloud.host":    host(there),
		"signaling":     "ws" + strings.TrimPrefix(server, "http") + "/",
		"token.bob":     federatedToken(there, own, "bob", "Bob", now),
		"token.expired": federatedToken(there, own, "bob", "Bob", now.Add(-time.Hour)),
		"token.forged":  own.TokenOf(federatedClaims(there, own, "bob", "Bob", now)),
	}
}

// TestFederationTranscripts plays stories between two clusters, of one node each and
// of three.
func TestFederationTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/federation/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if *peerURL != "" {
			t.Run(name+"/to the peer", func(t *testing.T) { toPeer(t).visits(t, file) })
			t.Run(name+"/from the peer", func(t *testing.T) { fromPeer(t).visits(t, file) })
			continue
		}
		for _, n := range []int{1, 3} {
			t.Run(name+"/"+string(rune('0'+n)), func(t *testing.T) {
				there, own := newCluster(t, n), newCluster(t, n, onLoopback)
				people(there)
				farRooms(own)
				there.pin("room", there.nodes[n-1])
				own.pin("here", own.nodes[0])
				stage := signalingtest.Stage{
					Nextcloud: there.nextcloud, Update: *update && n == 1,
					Names: federationNames(there.nextcloud, own.nextcloud, there.nodes[n/2].url()+"/standalone-signaling"),
				}
				for i := range 6 {
					of := there
					if i >= 3 {
						of = own
					}
					stage.Nodes = append(stage.Nodes, of.nodes[i%3%n].url())
				}
				signalingtest.Play(t, file, stage)
				q := there.nextcloud.ExpectQuestion("join", func(q signalingtest.Question) bool {
					return q.Kind == "room" && q.Action == "join" && q.SessionID == "nc-bob"
				})
				if q.ActorType != "federated_users" || q.ActorID != "bob@"+host(own.nextcloud) {
					t.Errorf("the Nextcloud was asked about %+v", q)
				}
				there.nextcloud.ExpectQuestion("leave", func(q signalingtest.Question) bool {
					return q.Kind == "room" && q.Action == "leave" && q.SessionID == "nc-bob" && q.ActorType == "federated_users"
				})
			})
		}
	}
}

// gate is a way to a server that a test may cut.
type gate struct {
	lis   net.Listener
	to    string
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	shut  bool                  // guarded by mu; nobody gets through

	passed atomic.Int64 // how often it was passed
}

func newGate(t *testing.T, nodeURL string) *gate {
	t.Helper()
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{lis: lis, to: strings.TrimPrefix(nodeURL, "http://"), conns: make(map[net.Conn]struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := lis.Accept()
			if err != nil {
				return
			}
			all.Go(func() { g.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		g.cut(true)
		all.Wait()
	})
	return g
}

func (g *gate) url() string { return "ws://" + g.lis.Addr().String() }

func (g *gate) carry(near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := new(net.Dialer).Dial("tcp", g.to)
	if err != nil {
		return
	}
	g.mu.Lock()
	shut := g.shut
	g.conns[near], g.conns[far] = struct{}{}, struct{}{}
	g.mu.Unlock()
	defer func() { _ = far.Close() }()
	if shut {
		return
	}
	g.passed.Add(1)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(near, far)
		_ = near.Close()
	})
	_, _ = io.Copy(far, near)
	_ = far.Close()
	back.Wait()
}

// cut breaks what goes through, and lets nothing more through if it is shut.
func (g *gate) cut(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	for c := range g.conns {
		_ = c.Close()
	}
	clear(g.conns)
}

// twoClusters has alice in a room, and bob of another cluster there too, by a gate.
type twoClusters struct {
	there, own *cluster
	gate       *gate
	alice, bob *signalingtest.Client
	bobThere   store.SessionID
}

func federate(t *testing.T, options ...option) *twoClusters {
	t.Helper()
	f := &twoClusters{there: newCluster(t, 1, options...), own: newCluster(t, 1, onLoopback)}
	people(f.there)
	farRooms(f.own)
	f.gate = newGate(t, f.there.nodes[0].url())
	f.alice = f.there.enter(f.there.nodes[0], "alice")
	f.bob = f.own.come(f.own.nodes[0], "bob")
	answer := f.ask(time.Now())
	if answer.Room == nil || answer.Room.RoomID != "mine" {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	f.bobThere = f.joined()
	return f
}

// ask lets bob ask for the room.
func (f *twoClusters) ask(made time.Time) wire.ServerMessage {
	token := federatedToken(f.there.nextcloud, f.own.nextcloud, "bob", "Bob", made)
	return f.bob.Ask(wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{
		RoomID: "mine", SessionID: "nc-bob",
		Federation: &wire.Federation{Signaling: f.gate.url(), URL: f.there.nextcloud.URL() + "/", RoomID: "room", Token: token},
	}})
}

// joined waits until alice sees bob come.
func (f *twoClusters) joined() store.SessionID {
	var id store.SessionID
	f.alice.Expect("bob", func(m *wire.ServerMessage) bool {
		if m.Event == nil || len(m.Event.Join) != 1 || !m.Event.Join[0].Federated {
			return false
		}
		id = m.Event.Join[0].SessionID
		return true
	})
	return id
}

func (f *twoClusters) left(id store.SessionID) {
	f.alice.Expect("leave of bob", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Type == wire.EventLeave && slices.Contains(m.Event.Leave, id)
	})
}

func said(n int) func(*wire.ServerMessage) bool {
	return func(m *wire.ServerMessage) bool {
		return m.Message != nil && string(m.Message.Data) == fmt.Sprintf(`{"n":%d}`, n)
	}
}

// TestFederationResumes: the connection to the other server breaks; what is said
// meanwhile arrives once, both ways, and nobody has left.
func TestFederationResumes(t *testing.T) {
	f := federate(t)
	f.gate.cut(true)
	f.bob.ExpectEvent(wire.TargetRoom, wire.EventFederationInterrupted)
	eventually(t, "the other server to notice", func() bool { return f.there.nodes[0].metric("talkd_signaling_connections") == 1 })
	f.alice.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 1})
	f.bob.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 2})
	f.bob.Say(wire.Recipient{Type: wire.ToSession, SessionID: f.bob.Session}, map[string]int{"n": 3})
	f.gate.cut(false)
	if e := f.bob.ExpectEvent(wire.TargetRoom, wire.EventFederationResumed); e.Resumed == nil || !*e.Resumed {
		t.Errorf("resumed: %v", e.Resumed)
	}
	f.bob.Expect("what alice said", said(1))
	f.alice.Expect("what bob said", said(2))
	f.bob.Expect("what bob said to himself", said(3))
	f.alice.ExpectNone("leave", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventLeave })
	f.bob.ExpectNone("twice", said(1))
	f.bob.Bye()
	f.left(f.bobThere)
}

// TestFederationRenewed: the session at the other server is gone; with the token
// another one begins, and the client hears of the room anew.
func TestFederationRenewed(t *testing.T) {
	f := federate(t, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.ResumeTimeout = 40 * time.Millisecond })
	f.gate.cut(true)
	f.left(f.bobThere)
	f.bob.ExpectEvent(wire.TargetRoom, wire.EventFederationInterrupted)
	f.bob.Drain()
	f.gate.cut(false)
	if m := f.bob.Next(); m.Event == nil || m.Event.Type != wire.EventFederationResumed || m.Event.Resumed == nil || *m.Event.Resumed {
		t.Fatalf("next %s", wire.Encode(m))
	}
	if m := f.bob.Next(); m.ID != "" || m.Room == nil || m.Room.RoomID != "mine" {
		t.Fatalf("next %s", wire.Encode(m))
	}
	expectJoin(f.bob, f.bob.Session)
	expectJoin(f.bob, f.alice.Session)
	f.joined()
}

// TestFederationGivenUp: the other server lets nobody in again; the client is told so
// without having asked, and comes back when it may.
func TestFederationGivenUp(t *testing.T) {
	f := federate(t, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.ResumeTimeout = 40 * time.Millisecond })
	f.there.nextcloud.Refuse("room", wire.CodeNoSuchRoom)
	f.gate.cut(true)
	f.left(f.bobThere)
	f.gate.cut(false)
	if m := f.bob.ExpectError(wire.CodeFederationFailed); m.ID != "" {
		t.Errorf("error of %q", m.ID)
	}
	f.bob.Say(wire.Recipient{Type: wire.ToRoom}, 1)
	f.bob.ExpectError(wire.CodeNotInRoom)
	f.there.nextcloud.Refuse("room", "")
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	f.joined()
}

// TestFederationReplaced: the participant enters the room with another session; the
// first one ends, as if both were at one server.
func TestFederationReplaced(t *testing.T) {
	f := federate(t)
	first := f.bob
	f.bob = f.own.come(f.own.nodes[0], "bob")
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	if m := first.ExpectType(wire.TypeBye); m.Bye.Reason != wire.ByeRoomSession {
		t.Errorf("bye %s", wire.Encode(m))
	}
	f.joined()
}

// TestFederationReplacedMeanwhile: the same, while the first one's connection is broken
// and its client is away: it does not come back to throw the second one out.
func TestFederationReplacedMeanwhile(t *testing.T) {
	f := federate(t)
	f.gate.cut(true)
	f.bob.ExpectEvent(wire.TargetRoom, wire.EventFederationInterrupted)
	f.bob.Cut()
	gate := f.gate
	f.gate = newGate(t, f.there.nodes[0].url())
	f.bob = f.own.come(f.own.nodes[0], "bob")
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	f.left(f.bobThere)
	f.joined()
	gate.cut(false)
	eventually(t, "the first one to be refused", func() bool { return gate.passed.Load() > 1 })
	eventually(t, "it to go", func() bool { return f.there.nodes[0].metric("talkd_signaling_connections") == 2 })
	f.bob.Barrier()
	f.bob.ExpectNone("bye", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeBye })
	f.alice.Barrier()
	f.alice.ExpectNone("leave", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventLeave })
}

// TestFederationEntersAgain: a client that enters its room again, by another name of the
// server, is not replaced by itself.
func TestFederationEntersAgain(t *testing.T) {
	f := federate(t)
	session := f.bob.Session
	for i := range 5 {
		token := federatedToken(f.there.nextcloud, f.own.nextcloud, "bob", "Bob", time.Now())
		answer := f.bob.Ask(wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{
			RoomID: "mine", SessionID: "nc-bob", Federation: &wire.Federation{
				Signaling: f.gate.url() + strings.Repeat("/", i%2+1), URL: f.there.nextcloud.URL() + "/", RoomID: "room", Token: token,
			},
		}})
		if answer.Room == nil {
			t.Fatalf("answer %s", wire.Encode(answer))
		}
		f.joined()
	}
	for _, q := range f.there.nextcloud.Questions() {
		if q.Kind == "room" && q.Action == "leave" {
			t.Errorf("the Nextcloud was told that %s left", q.SessionID)
		}
	}
	f.bob.Barrier()
	f.bob.ExpectNone("bye", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeBye })
	if f.bob.Session != session {
		t.Error("another session")
	}
}

// TestFederationEnds: a node that stops, and a session that is not taken up again,
// leave the other server.
func TestFederationEnds(t *testing.T) {
	f := federate(t)
	f.own.nodes[0].quit()
	f.left(f.bobThere)
}

// TestFederationRefused: what nobody may do.
func TestFederationRefused(t *testing.T) {
	f := federate(t)
	federated := signalingtest.Dial(t, f.there.nodes[0].url())
	federated.Welcome()
	token := federatedToken(f.there.nextcloud, f.own.nextcloud, "bob", "Bob", time.Now())
	answer := federated.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version2, Features: []string{wire.ClientRedirect, wire.ClientResumeMedia},
		Auth: &wire.Auth{Type: wire.AuthFederation, URL: f.there.nextcloud.URL(), Params: f.there.nextcloud.TokenParams(token)},
	}})
	if answer.Hello == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	internal := signalingtest.Dial(t, f.own.nodes[0].url())
	internal.Welcome()
	internal.HelloInternal(internalSecret, f.own.nextcloud.URL())
	far := wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{
		RoomID: "room", Federation: &wire.Federation{Signaling: f.gate.url(), URL: f.there.nextcloud.URL(), Token: token},
	}}
	for name, client := range map[string]*signalingtest.Client{"federated": federated, "internal": internal} {
		if answer := client.Ask(far); answer.Error == nil || answer.Error.Code != wire.CodeNotAllowed {
			t.Errorf("%s: %s", name, wire.Encode(answer))
		}
	}
	// The other cluster is on loopback, where nobody is let to by its own server.
	if answer := f.alice.Ask(far); answer.Error == nil || answer.Error.Code != wire.CodeFederationFailed {
		t.Errorf("answer %s", wire.Encode(answer))
	}
}

// TestFederationWaits: while another server does not answer the client is where it was and
// hears; what it says comes after the refusal, in its order.
func TestFederationWaits(t *testing.T) {
	lis, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	c := newCluster(t, 1, onLoopback)
	people(c)
	alice, bob := c.enter(c.nodes[0], "alice"), c.enter(c.nodes[0], "bob")
	bob.Send(wire.ClientMessage{ID: "far", Type: wire.TypeRoom, Room: &wire.JoinRoom{
		RoomID: "far", Federation: &wire.Federation{Signaling: "ws://" + lis.Addr().String(), URL: "https://far.example", Token: "token"},
	}})
	silent, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	bob.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 2})
	alice.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 1})
	bob.Expect("what alice says", said(1))
	alice.Barrier()
	alice.ExpectNone("what bob says", said(2))
	_ = silent.Close()
	if m := bob.ExpectError(wire.CodeFederationFailed); m.ID != "far" {
		t.Errorf("error of %q", m.ID)
	}
	alice.Expect("what bob said", said(2))
}

// TestFederationOff: an operator who wants none of it has none, either way, and nobody is
// told that there is.
func TestFederationOff(t *testing.T) {
	off := func(cfg *signaling.Config, _ *signaling.Deps) { cfg.NoFederation = true }
	there, own := newCluster(t, 1, off), newCluster(t, 1, onLoopback, off)
	people(there)
	farRooms(own)
	bob := own.come(own.nodes[0], "bob")
	token := federatedToken(there.nextcloud, own.nextcloud, "bob", "Bob", time.Now())
	answer := bob.Ask(wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{
		RoomID: "room", Federation: &wire.Federation{Signaling: "ws" + strings.TrimPrefix(there.nodes[0].url(), "http"), URL: there.nextcloud.URL(), Token: token},
	}})
	if answer.Error == nil || answer.Error.Code != wire.CodeFederation {
		t.Errorf("to another server: %s", wire.Encode(answer))
	}
	if n := there.nodes[0].metric("talkd_signaling_connections"); n != 0 {
		t.Errorf("the other server has seen %v connections", n)
	}
	far := signalingtest.Dial(t, there.nodes[0].url())
	if info := far.Welcome(); slices.Contains(info.Features, wire.FeatureFederation) || !slices.Contains(info.Features, wire.FeatureMCU) {
		t.Errorf("features %v", info.Features)
	}
	answer = far.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version2, Auth: &wire.Auth{Type: wire.AuthFederation, URL: there.nextcloud.URL(), Params: there.nextcloud.TokenParams(token)},
	}})
	if answer.Error == nil || answer.Error.Code != wire.CodeClientType {
		t.Errorf("from another server: %s", wire.Encode(answer))
	}
}

// TestFederationAfterTheEdge: the node of a session dies; the client goes on with it at
// another one, enters the room again from there, and the others see one bob.
func TestFederationAfterTheEdge(t *testing.T) {
	f := &twoClusters{there: newCluster(t, 1), own: newCluster(t, 2, onLoopback)}
	people(f.there)
	farRooms(f.own)
	f.gate = newGate(t, f.there.nodes[0].url())
	f.alice = f.there.enter(f.there.nodes[0], "alice")
	f.bob = f.own.come(f.own.nodes[0], "bob", wire.ClientResumeMedia)
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	first, session, resume := f.joined(), f.bob.Session, f.bob.Resume
	f.own.nodes[0].kill()
	f.bob = signalingtest.Dial(t, f.own.nodes[1].url())
	f.bob.Welcome()
	if h := f.bob.ResumeSession(resume); h.SessionID != session || h.Resumed == nil || h.Resumed.Media || h.Resumed.Room != "" {
		t.Fatalf("hello %+v", h)
	}
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	f.left(first)
	f.joined()
}

// TestFederatedSurvivesTheHome: a new home of the room knows who is federated.
func TestFederatedSurvivesTheHome(t *testing.T) {
	f := &twoClusters{there: newCluster(t, 3), own: newCluster(t, 1, onLoopback)}
	people(f.there)
	farRooms(f.own)
	f.there.pin("room", f.there.nodes[2])
	f.gate = newGate(t, f.there.nodes[0].url())
	f.alice = f.there.enter(f.there.nodes[1], "alice")
	f.bob = f.own.come(f.own.nodes[0], "bob")
	if answer := f.ask(time.Now()); answer.Room == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	id := f.joined()
	f.there.nodes[2].kill()
	f.there.assign(f.there.room("room"), f.there.nodes[1], store.ReasonAnew)
	guest := f.there.come(f.there.nodes[1], "bob") // another one
	guest.Join("room", "nc-another")
	guest.Expect("bob", func(m *wire.ServerMessage) bool {
		return m.Event != nil && slices.ContainsFunc(m.Event.Join, func(e wire.SessionEntry) bool { return e.SessionID == id && e.Federated })
	})
	expectJoin(f.bob, guest.Session)
	f.bob.Bye()
	f.left(id)
	f.there.nextcloud.ExpectQuestion("leave", func(q signalingtest.Question) bool {
		return q.Kind == "room" && q.Action == "leave" && q.SessionID == "nc-bob" && q.ActorID == "bob@"+host(f.own.nextcloud)
	})
}

// TestFederatedStays: another server does not follow to other nodes, and its client is
// not put back without it.
func TestFederatedStays(t *testing.T) {
	there, own := newCluster(t, 2), signalingtest.NewNextcloud(t, secret)
	people(there)
	there.pin("room", there.nodes[1])
	far := signalingtest.Dial(t, there.nodes[0].url())
	far.Welcome()
	token := federatedToken(there.nextcloud, own, "bob", "Bob", time.Now())
	answer := far.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version2, Features: []string{wire.ClientRedirect, wire.ClientResumeMedia, wire.ClientMove},
		Auth: &wire.Auth{Type: wire.AuthFederation, URL: there.nextcloud.URL(), Params: there.nextcloud.TokenParams(token)},
	}})
	if answer.Hello == nil {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	far.Join("room", "nc-bob")
	there.nodes[0].kill()
	again := signalingtest.Dial(t, there.nodes[1].url())
	again.Welcome()
	answer = again.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{Version: wire.Version, ResumeID: answer.Hello.ResumeID}})
	if answer.Error == nil || answer.Error.Code != wire.CodeNoSuchSession {
		t.Errorf("answer %s", wire.Encode(answer))
	}
}
