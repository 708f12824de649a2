package signaling_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestVirtualBackend: the backend hears who is on the phone, and may refuse it.
func TestVirtualBackend(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[0])
	alice := c.enter(c.nodes[0], "alice")
	bridge := c.service(c.nodes[1])

	plain := addVirtual(bridge, alice, wire.AddSession{SessionID: "plain", UserID: "dora"})
	inCall := int32(1)
	actor := addVirtual(bridge, alice, wire.AddSession{
		SessionID: "actor", InCall: &inCall, Options: &wire.ActorOptions{ActorID: "7", ActorType: "phones"},
	})
	asked := func(kind, action string, id wire.RoomSessionID) signalingtest.Question {
		t.Helper()
		return c.nextcloud.ExpectQuestion(kind+" "+action, func(q signalingtest.Question) bool {
			return q.Kind == kind && q.Action == action && q.SessionID == id && q.RoomID == "room"
		})
	}
	if q := asked("session", "add", wire.RoomSessionID(plain)); q.UserID != "dora" {
		t.Errorf("add: %+v", q)
	}
	if q := asked("room", "join", wire.RoomSessionID(actor)); q.ActorID != "7" || q.ActorType != "phones" || q.InCall == nil || *q.InCall != 1 {
		t.Errorf("join: %+v", q)
	}
	bridge.Internal(wire.Internal{Type: wire.InternalRemove, RemoveSession: &wire.RemoveSession{SessionID: "plain", RoomID: "room"}})
	expectLeave(alice, plain)
	asked("session", "remove", wire.RoomSessionID(plain))
	bridge.Bye()
	expectLeave(alice, actor)
	if q := asked("room", "leave", wire.RoomSessionID(actor)); q.ActorID != "7" || q.ActorType != "phones" {
		t.Errorf("leave: %+v", q)
	}

	// Refused, and of a backend that does not care.
	bridge = c.service(c.nodes[1])
	c.nextcloud.Refuse("room", wire.CodeNoSuchRoom)
	c.nextcloud.Refuse("session", "unknown_type")
	bridge.Internal(wire.Internal{Type: wire.InternalAdd, AddSession: &wire.AddSession{
		SessionID: "refused", RoomID: "room", Options: &wire.ActorOptions{ActorID: "8", ActorType: "phones"},
	}})
	bridge.ExpectError(wire.CodeNoSuchRoom)
	addVirtual(bridge, alice, wire.AddSession{SessionID: "unknown"})
	c.nextcloud.Refuse("session", wire.CodeNoSuchRoom)
	bridge.Internal(wire.Internal{Type: wire.InternalAdd, AddSession: &wire.AddSession{SessionID: "refused", RoomID: "room"}})
	bridge.ExpectError(wire.CodeNoSuchRoom)
	c.nextcloud.Refuse("session", "")
	addVirtual(bridge, alice, wire.AddSession{SessionID: "refused"}) // the name is free
}

// TestVirtualSurvives: neither the death nor the moves of a home change anything for who is on the phone,
// and what its bridge says meanwhile is told in the end.
func TestVirtualSurvives(t *testing.T) {
	c, _, bob, carol := call(t)
	bridge := c.service(c.nodes[1])
	bridge.Join("room", "")
	expectInCall(carol, "3", bridge.Session)
	carol.Drain()
	phone := addVirtual(bridge, carol, wire.AddSession{SessionID: "phone", Flags: 1})
	expectInCall(carol, "9", phone)
	expectFlags(t, carol, phone, 1)
	bridge.Barrier()
	for _, x := range []*signalingtest.Client{bob, carol} {
		x.Barrier()
		x.Drain()
	}
	say := func(flags uint32, inCall int32) {
		t.Helper()
		bridge.Internal(wire.Internal{Type: wire.InternalUpdate, UpdateSession: &wire.UpdateSession{SessionID: "phone", RoomID: "room", Flags: &flags, InCall: &inCall}})
		bridge.Internal(wire.Internal{Type: wire.InternalInCall, InCall: &wire.OwnInCall{InCall: inCall}})
	}
	heardBy := func(x *signalingtest.Client, flags uint32, inCall int) {
		t.Helper()
		expectFlags(t, x, phone, flags)
		expectInCall(x, strconv.Itoa(inCall), phone, bridge.Session)
	}
	for i := range 4 {
		c.move(c.room("room"), c.nodes[(i+1)%3])
		say(uint32(i+2), int32(2*i+1)) // while some know and some do not
		heardBy(carol, uint32(i+2), 2*i+1)
	}
	c.move(c.room("room"), c.nodes[0])
	hears(t, bob, carol, "at the first node")
	c.nodes[0].kill()
	say(9, 3) // while there is no home
	bridge.Barrier()
	c.move(c.room("room"), c.nodes[2])
	heardBy(carol, 9, 3)
	carol.ExpectNone("leave of the phone", func(m *wire.ServerMessage) bool {
		return m.Event != nil && m.Event.Type == wire.EventLeave
	})
	bob.Say(wire.Recipient{Type: wire.ToSession, SessionID: phone}, map[string]string{"type": "hi"})
	bridge.Expect("message to the phone", func(m *wire.ServerMessage) bool {
		return m.Message != nil && m.Message.Recipient != nil && m.Message.Recipient.SessionID == "phone"
	})
}

// TestVirtualOfALostBridge: who was on the phone leaves when the bridge has begun anew, or
// does not come back.
func TestVirtualOfALostBridge(t *testing.T) {
	for name, again := range map[string]bool{"begins anew": true, "is gone": false} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, quick)
			people(c)
			c.pin("room", c.nodes[0])
			alice := c.enter(c.nodes[0], "alice")
			bridge := c.service(c.nodes[1])
			bridge.Join("room", "")
			expectJoin(alice, bridge.Session)
			phone := addVirtual(bridge, alice, wire.AddSession{SessionID: "phone"})
			c.nodes[1].kill()
			if !again {
				expectLeave(alice, phone)
				c.nextcloud.ExpectQuestion("remove", func(q signalingtest.Question) bool {
					return q.Kind == "session" && q.Action == "remove" && q.SessionID == wire.RoomSessionID(phone)
				})
				return
			}
			next, _ := back(t, c.nodes[2], bridge)
			next.HelloInternal(internalSecret, c.nextcloud.URL())
			next.Join("room", "")
			event := alice.ExpectEvent(wire.TargetRoom, wire.EventLeave)
			if len(event.Leave) != 2 {
				t.Errorf("left: %v", event.Leave)
			}
			expectJoin(alice, next.Session)
		})
	}
}

// TestVirtualOfASlowBackend: while the backend takes its time over those on the phone,
// their bridge is heard, also about them.
func TestVirtualOfASlowBackend(t *testing.T) {
	c := newCluster(t, 2)
	people(c)
	c.pin("room", c.nodes[0])
	alice := c.enter(c.nodes[0], "alice")
	bridge := c.service(c.nodes[1])
	hold, asked := make(chan struct{}), make(chan struct{}, 100)
	answer := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(answer)
	c.nextcloud.Break(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-hold
		w.WriteHeader(http.StatusServiceUnavailable) // it is asked again
	}))
	for _, name := range []wire.VirtualID{"stays", "goes"} {
		bridge.Internal(wire.Internal{Type: wire.InternalAdd, AddSession: &wire.AddSession{SessionID: name, RoomID: "room"}})
		<-asked
	}
	flags := uint32(2)
	bridge.Internal(wire.Internal{Type: wire.InternalUpdate, UpdateSession: &wire.UpdateSession{SessionID: "stays", RoomID: "room", Flags: &flags}})
	bridge.Internal(wire.Internal{Type: wire.InternalRemove, RemoveSession: &wire.RemoveSession{SessionID: "goes", RoomID: "room"}})
	bridge.Barrier()
	c.nextcloud.Break(nil)
	answer()
	stays := alice.ExpectEvent(wire.TargetRoom, wire.EventJoin).Join[0].SessionID
	expectFlags(t, alice, stays, 2)
	if q := c.nextcloud.ExpectQuestion("remove", func(q signalingtest.Question) bool { return q.Action == "remove" }); q.SessionID == wire.RoomSessionID(stays) {
		t.Error("the other one has gone")
	}
	alice.Barrier()
	alice.ExpectNone("who has gone", comesOrGoes)
}
