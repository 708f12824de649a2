package signaling_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/wire"
)

// TestRate: a web client that enters a call of 50 repeats itself without being
// refused; who says far more is told so, and stays connected.
func TestRate(t *testing.T) {
	c := newCluster(t, 1)
	people(c)
	alice := c.come(c.nodes[0], "alice")
	say := func(name string) {
		alice.SendRaw(fmt.Appendf(nil, `{"id":"m","type":"message","message":{"recipient":{"type":"session","sessionid":"nobody"},`+
			`"data":{"type":"unmute","roomType":"video","payload":{"name":%q},"to":"nobody"}}}`, name))
	}
	refused := func(m *wire.ServerMessage) bool {
		return m.Error != nil && m.Error.Code == wire.CodeTooManyRequests && m.ID == "m"
	}
	const call = 50
	said := (call - 1) * 3 * (call - 1)
	for range said {
		say("video")
	}
	alice.Barrier()
	alice.ExpectNone("refusal", refused)

	long := strings.Repeat("x", 60<<10) // counts for 121, more than comes back while a busy machine sends it
	told := false
	for i := 0; i < 300 && !told; i++ {
		say(long)
		for _, m := range alice.Drain() {
			told = told || refused(&m)
		}
	}
	if !told {
		t.Fatal("not refused")
	}
	eventually(t, "a message that passes", func() bool {
		answer := alice.Ask(wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{
			Recipient: wire.Recipient{Type: wire.ToRoom}, Data: []byte(`{}`),
		}})
		return answer.Error.Code == wire.CodeNotInRoom
	})
}

// TestPings: a client that does not answer pings loses its connection, and no
// other.
func TestPings(t *testing.T) {
	c := newCluster(t, 1, func(cfg *signaling.Config, _ *signaling.Deps) { cfg.PingInterval = 100 * time.Millisecond })
	people(c)
	alice := c.come(c.nodes[0], "alice")
	//nolint:bodyclose // the library closes the body of the answer itself
	dead, _, err := websocket.Dial(t.Context(), c.nodes[0].url()+"/spreed", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.CloseNow() }() // it does not read, so it does not answer
	eventually(t, "two connections", func() bool { return c.nodes[0].metric("talkd_signaling_connections") == 2 })
	eventually(t, "one connection", func() bool { return c.nodes[0].metric("talkd_signaling_connections") == 1 })
	alice.Barrier()
}
