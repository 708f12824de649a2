package signaling_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
)

func set(client *signalingtest.Client, key, value string, ttl time.Duration) {
	client.Send(wire.ClientMessage{ID: "set", Type: wire.TypeTransient, Transient: &wire.ChangeTransient{
		Type: wire.TransientSet, Key: key, Value: json.RawMessage(value), TTL: ttl,
	}})
}

func expectSet(t *testing.T, key, value string, clients ...*signalingtest.Client) {
	t.Helper()
	for _, c := range clients {
		c.Expect("set "+key, func(m *wire.ServerMessage) bool {
			return m.Transient != nil && m.Transient.Type == wire.TransientSet && m.Transient.Key == key && string(m.Transient.Value) == value
		})
	}
}

func expectRemoved(t *testing.T, key string, clients ...*signalingtest.Client) {
	t.Helper()
	for _, c := range clients {
		c.Expect("remove "+key, func(m *wire.ServerMessage) bool {
			return m.Transient != nil && m.Transient.Type == wire.TransientRemove && m.Transient.Key == key
		})
	}
}

// expectInitial waits for what there is of each key.
func expectInitial(t *testing.T, client *signalingtest.Client, want map[string]string) {
	t.Helper()
	got := client.Expect("initial", func(m *wire.ServerMessage) bool {
		return m.Transient != nil && m.Transient.Type == wire.TransientInitial
	}).Transient.Data
	for key, value := range want {
		if string(got[key]) != value {
			t.Errorf("%s is %s, want %s", key, got[key], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d keys, want %d", len(got), len(want))
	}
}

func isTransient(m *wire.ServerMessage) bool { return m.Transient != nil }

// TestTransientSurvivesTheHome: the edges know the data, and give them to the next
// home. What is set in between waits for it.
func TestTransientSurvivesTheHome(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	set(alice, "topic", `"budget"`, 0)
	set(bob, wire.SessionData+string(bob.Session), `"Bob B."`, 0)
	set(alice, wire.SessionData+string(alice.Session), `"Alice A."`, 0)
	for _, x := range []*signalingtest.Client{alice, bob, carol} {
		expectSet(t, "topic", `"budget"`, x)
		expectSet(t, wire.SessionData+string(bob.Session), `"Bob B."`, x)
		expectSet(t, wire.SessionData+string(alice.Session), `"Alice A."`, x)
	}
	c.nodes[0].kill()
	set(carol, "phase", `2`, 0)
	hears(t, carol, bob, "nobody is home")
	bob.ExpectNone("a change without a home", isTransient)

	c.move(c.room("room"), c.nodes[1])
	expectSet(t, "phase", `2`, bob, carol)
	for _, x := range []*signalingtest.Client{bob, carol} {
		x.ExpectNone("what they know", isTransient)
	}
	set(bob, "phase", `3`, 0)
	expectSet(t, "phase", `3`, bob, carol)
	expectRemoved(t, wire.SessionData+string(alice.Session), bob, carol) // she did not come back

	c.nextcloud.AddUser("dave", "Dave")
	dave := c.enter(c.nodes[2], "dave")
	expectInitial(t, dave, map[string]string{
		"topic": `"budget"`, "phase": `3`, wire.SessionData + string(bob.Session): `"Bob B."`,
	})
	c.move(c.room("room"), c.nodes[2])
	set(dave, "topic", `"lunch"`, 0)
	expectSet(t, "topic", `"lunch"`, bob, carol, dave)
}

// TestSessionDataStays: as long as the session may be taken up again, and no longer.
func TestSessionDataStays(t *testing.T) {
	c, alice, bob, carol := call(t, quick)
	of := func(x *signalingtest.Client) string { return wire.SessionData + string(x.Session) }
	set(bob, of(bob), `1`, 0)
	set(carol, of(carol), `2`, 0)
	for _, x := range []*signalingtest.Client{alice, bob, carol} {
		expectSet(t, of(bob), `1`, x)
		expectSet(t, of(carol), `2`, x)
	}
	bob.Cut()
	carol.Cut()
	back := signalingtest.Dial(t, c.nodes[0].url())
	back.Welcome()
	back.ResumeSession(bob.Resume)
	expectRemoved(t, of(carol), alice)
	expectRemoved(t, of(carol), back)
	alice.ExpectNone("more", isTransient)

	// Who leaves and enters again has none.
	back.Leave()
	expectRemoved(t, of(bob), alice)
	back.Join("room", "nc-bob")
	back.Barrier()
	back.ExpectNone("initial", isTransient)
}

// TestTransientEnds with the last session in the room.
func TestTransientEnds(t *testing.T) {
	c, alice, bob, carol := call(t)
	set(alice, "topic", `"budget"`, 0)
	expectSet(t, "topic", `"budget"`, alice, bob, carol)
	for _, x := range []*signalingtest.Client{alice, bob, carol} {
		x.Leave()
	}
	eventually(t, "an empty room", func() bool {
		status, err := c.nodes[0].hub.RoomStatus(t.Context(), c.room("room"))
		return err == nil && len(status.Sessions) == 0
	})
	alice.Join("room", "nc-alice")
	set(alice, "topic", `"lunch"`, 0)
	m := alice.Expect("transient", isTransient)
	if m.Transient.Type != wire.TransientSet || m.Transient.OldValue != nil {
		t.Errorf("came: %s", wire.Encode(m))
	}
}

// TestTransientTTL: a value that is set again lives for the time that was said last.
func TestTransientTTL(t *testing.T) {
	c, alice, bob, carol := call(t)
	set(alice, "a", `1`, 24*time.Hour)
	set(alice, "b", `1`, time.Millisecond)
	expectSet(t, "a", `1`, alice, bob, carol)
	set(bob, "a", `1`, time.Millisecond)
	for _, x := range []*signalingtest.Client{alice, bob, carol} {
		expectRemoved(t, "b", x)
		expectRemoved(t, "a", x)
	}
	// A time to live is taken back, too, and a new home knows how long it is.
	set(alice, "c", `1`, 300*time.Millisecond)
	set(alice, "c", `1`, 0)
	set(alice, "d", `1`, 300*time.Millisecond)
	expectSet(t, "d", `1`, alice, bob, carol)
	c.move(c.room("room"), c.nodes[2])
	expectRemoved(t, "d", alice, bob, carol)
	alice.ExpectNone("the end of c", func(m *wire.ServerMessage) bool {
		return m.Transient != nil && m.Transient.Type == wire.TransientRemove
	})
}

// TestTransientBounds: whoever sets too much is told.
func TestTransientBounds(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	alice := c.enter(c.nodes[0], "alice")
	large := `"` + strings.Repeat("x", wire.MaxTransientValue-2) + `"`
	set(alice, "large", large, 0)
	expectSet(t, "large", large, alice)
	set(alice, "large", `"x`+large[1:], 0)
	alice.ExpectError(wire.CodeTransientLimit)
	for i := range 31 {
		set(alice, fmt.Sprint(i), large, 0)
	}
	alice.ExpectError(wire.CodeTransientLimit)
	bob := c.enter(c.nodes[0], "bob")
	var keys []string
	bob.Barrier()
	for _, m := range bob.Drain() {
		if m.Transient != nil {
			if len(m.Transient.Data) > 2 {
				t.Errorf("%d large values in one message", len(m.Transient.Data))
			}
			for key := range m.Transient.Data {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != 31 {
		t.Errorf("%d values of 31 came", n)
	}
	for i := range wire.MaxTransientKeys - 30 {
		set(alice, fmt.Sprint("small", i), `1`, 0)
	}
	m := alice.ExpectError(wire.CodeTransientLimit)
	if want := "too much transient data: a room may have 1000 keys and 1024 KiB, a value 32 KiB"; m.Error.Message != want {
		t.Errorf("she is told %q", m.Error.Message)
	}
	alice.Barrier()
	alice.ExpectNone("another error", func(m *wire.ServerMessage) bool { return m.Error != nil })
}

// TestNoGaps: an edge that is told nothing but that it was heard has missed nothing.
func TestNoGaps(t *testing.T) {
	c, alice, bob, carol := call(t)
	before := c.nodes[2].metric("talkd_signaling_gaps_total")
	for i := range 3 {
		carol.Say(wire.Recipient{Type: wire.ToSession, SessionID: bob.Session}, i)
		bob.Expect("message", func(m *wire.ServerMessage) bool { return m.Message != nil })
		hears(t, alice, carol, fmt.Sprint("to all ", i))
	}
	if after := c.nodes[2].metric("talkd_signaling_gaps_total"); after != before {
		t.Errorf("%v gaps", after-before)
	}
}
