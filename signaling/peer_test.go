package signaling_test

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// Another signaling server, which serves any Nextcloud that knows the secret, can take
// part in the stories: docs/protocol.md has how.
var (
	peerURL      = flag.String("peer", "", "URL of another signaling server: transcripts are played to it, and what is different is told")
	peerSecret   = flag.String("peer.secret", "the shared secret of tests", "what it shares with Nextclouds")
	peerInternal = flag.String("peer.internal-secret", "the secret of internal clients of tests", "what it shares with internal clients")
)

// compareWithPeer plays a story to the other server.
func compareWithPeer(t *testing.T, file string) {
	nc := signalingtest.NewNextcloud(t, *peerSecret)
	inhabit(nc)
	play(t, file, nc, tokens(t, nc, *peerInternal), *peerURL, *peerURL)
}

// twoServers are one of ours and the other one: people go from own to there.
type twoServers struct {
	there, own       *signalingtest.Nextcloud
	thereURL, ownURL string
}

// toPeer has somebody of ours go to the other server.
func toPeer(t *testing.T) twoServers {
	nc, own := signalingtest.NewNextcloud(t, *peerSecret), newCluster(t, 1, onLoopback)
	inhabit(nc)
	farRooms(own)
	return twoServers{nc, own.nextcloud, *peerURL, own.nodes[0].url()}
}

// fromPeer has somebody come from it.
func fromPeer(t *testing.T) twoServers {
	there, nc := newCluster(t, 1), signalingtest.NewNextcloud(t, *peerSecret)
	people(there)
	inhabitFar(nc)
	return twoServers{there.nextcloud, nc, there.nodes[0].url(), *peerURL}
}

// visits plays a story, and lets the connection between the servers break.
func (s twoServers) visits(t *testing.T, file string) {
	play(t, file, s.there, federationNames(s.there, s.own, s.thereURL), s.thereURL, s.ownURL)

	g := newGate(t, s.thereURL)
	alice := signalingtest.Dial(t, s.thereURL)
	alice.Hello(s.there.AuthURL(), params("alice"))
	alice.Join("room", "nc-alice")
	bob := signalingtest.Dial(t, s.ownURL)
	bob.Hello(s.own.AuthURL(), params("bob"))
	answer := bob.Ask(wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{
		RoomID: "mine", SessionID: "nc-bob", Federation: &wire.Federation{
			Signaling: g.url(), URL: s.there.URL() + "/", RoomID: "room",
			Token: federatedToken(s.there, s.own, "bob", "Bob", time.Now()),
		},
	}})
	if answer.Room == nil || answer.Room.RoomID != "mine" {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	bobs := func(e *wire.Event) bool { return len(e.Join) == 1 && e.Join[0].Federated }
	alice.Expect("bob", func(m *wire.ServerMessage) bool { return m.Event != nil && bobs(m.Event) })

	g.cut(true)
	bob.ExpectEvent(wire.TargetRoom, wire.EventFederationInterrupted)
	alice.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 1})
	bob.Say(wire.Recipient{Type: wire.ToRoom}, map[string]int{"n": 2})
	g.cut(false)
	if e := bob.ExpectEvent(wire.TargetRoom, wire.EventFederationResumed); e.Resumed == nil || !*e.Resumed {
		t.Errorf("resumed: %v", e.Resumed)
	}
	bob.Expect("what alice said", said(1))
	alice.Expect("what bob said", said(2))
	alice.ExpectNone("leave", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Type == wire.EventLeave })

	// For longer than a session is kept: another one begins with the token.
	g.cut(true)
	bob.ExpectEvent(wire.TargetRoom, wire.EventFederationInterrupted)
	time.Sleep(peerKeeps) // the servers have their own clocks
	alice.ExpectEvent(wire.TargetRoom, wire.EventLeave)
	bob.Drain()
	g.cut(false)
	if e := bob.ExpectEvent(wire.TargetRoom, wire.EventFederationResumed); e.Resumed == nil || *e.Resumed {
		t.Errorf("resumed after a long time: %v", e.Resumed)
	}
	bob.ExpectType(wire.TypeRoom)
	bob.Expect("join of alice", func(m *wire.ServerMessage) bool {
		return m.Event != nil && slices.ContainsFunc(m.Event.Join, func(e wire.SessionEntry) bool { return e.SessionID == alice.Session })
	})
	alice.Expect("bob again", func(m *wire.ServerMessage) bool { return m.Event != nil && bobs(m.Event) })
	bob.Bye()
	alice.ExpectEvent(wire.TargetRoom, wire.EventLeave)
	alice.Bye()
}

// peerKeeps is longer than servers keep sessions whose clients are away.
const peerKeeps = 40 * time.Second

func play(t *testing.T, file string, nc *signalingtest.Nextcloud, names map[string]string, near, far string) {
	signalingtest.Play(t, file, signalingtest.Stage{
		Nodes:     []string{near, near, near, far, far, far},
		Nextcloud: nc,
		Names:     names,
		Differs:   func(what string) { t.Log(what) },
	})
}
