package signaling_test

import (
	"fmt"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

// TestResumeMissesNothing: a client is gone, and its node does not know yet. What is
// written to its dead socket comes with the resume, once and in order; what it has
// got does not come again.
func TestResumeMissesNothing(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	n := c.nodes[0]
	alice, bob := c.enter(n, "alice"), c.enter(n, "bob")
	expectJoin(alice, bob.Session)
	next, expected := 0, 0
	say := func() {
		alice.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, map[string]int{"n": next})
		alice.Barrier()
		next++
	}
	expect := func() {
		t.Helper()
		for ; expected < next; expected++ {
			m := bob.Expect("message", func(m *wire.ServerMessage) bool { return m.Message != nil })
			if want := fmt.Sprintf(`{"n":%d}`, expected); string(m.Message.Data) != want {
				t.Fatalf("got %s, want %s", m.Message.Data, want)
			}
		}
	}
	for range 5 {
		say()
		say()
		expect()
		bob.Barrier()

		hear := signaling.Deafen(n.hub, bob.Session)
		bob.Send(wire.ClientMessage{ID: "p", Type: wire.TypePing}) // is read, and nothing after it
		bob.Cut()
		for range 5 {
			say()
		}
		hear()

		back := signalingtest.Dial(t, n.url())
		back.Welcome()
		back.ResumeSession(bob.Resume)
		bob = back
		expect()
		bob.Barrier()
		bob.ExpectNone("a message twice", func(m *wire.ServerMessage) bool { return m.Message != nil })
	}
}
