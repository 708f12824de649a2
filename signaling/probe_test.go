package signaling_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// asProbe is a client that says hello with a ticket.
func asProbe(t *testing.T, n *testNode, ticket string) (*signalingtest.Client, wire.ServerMessage) {
	t.Helper()
	client := signalingtest.Dial(t, n.url())
	client.Welcome()
	params, err := json.Marshal(map[string]string{"ticket": ticket})
	if err != nil {
		t.Fatal(err)
	}
	return client, client.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &wire.Hello{
		Version: wire.Version, Auth: &wire.Auth{Type: wire.AuthProbe, Params: params},
	}})
}

// TestProbe: with a ticket of one node, probes meet each other at all, and nobody else.
func TestProbe(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	alice := c.enter(c.nodes[0], "alice")
	p, err := c.nodes[0].hub.NewProbe()
	if err != nil {
		t.Fatal(err)
	}
	first, hello := asProbe(t, c.nodes[0], p.Ticket)
	if hello.Hello == nil {
		t.Fatalf("refused: %+v", hello.Error)
	}
	before := hello.Hello.SessionID
	first.Join("room", "")
	second, hello := asProbe(t, c.nodes[1], p.Ticket)
	if hello.Hello == nil {
		t.Fatalf("refused at the other node: %+v", hello.Error)
	}
	second.Join("room", "")
	expectJoin(second, before)
	if virtual := second.Ask(wire.ClientMessage{Type: wire.TypeInternal, Internal: &wire.Internal{
		Type: wire.InternalAdd, AddSession: &wire.AddSession{RoomID: "room", SessionID: "v", UserID: "bob"},
	}}); virtual.Error == nil {
		t.Error("a probe brings somebody else")
	}
	alice.ExpectNone("anything of the room", func(m *wire.ServerMessage) bool { return m.Event != nil && m.Event.Target == wire.TargetRoom })
}

// TestProbeTicket has tickets that are not good.
func TestProbeTicket(t *testing.T) {
	c := newCluster(t, 1)
	hub := c.nodes[0].hub
	p, err := hub.NewProbe()
	if err != nil {
		t.Fatal(err)
	}
	if !hub.ValidProbe(p.Ticket) {
		t.Errorf("a new one: %+v", p)
	}
	for name, ticket := range map[string]string{"made up": "abc", "changed": p.Ticket[:len(p.Ticket)-2] + "AA", "expired": signaling.ProbeUntil(hub, time.Now().Add(-time.Minute))} {
		if hub.ValidProbe(ticket) {
			t.Errorf("%s: valid", name)
		}
		want := wire.CodeInvalidTicket
		if name == "expired" {
			want = wire.CodeTokenExpired
		}
		if _, answer := asProbe(t, c.nodes[0], ticket); answer.Error == nil || answer.Error.Code != want {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}
