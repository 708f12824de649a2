package signaling_test

import (
	"encoding/json"
	"testing"

	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/signalingtest"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// TestGuestStaysTheSame: the backend is told at each joining which guest it is,
// at the next node too, so that nobody takes the place of another.
func TestGuestStaysTheSame(t *testing.T) {
	c := newCluster(t, 2, func(_ *signaling.Config, d *signaling.Deps) { d.Embedded = newEmbedded() })
	c.pin("room", c.nodes[1])
	if _, err := c.nodes[1].Place(t.Context(), store.RoomID{Name: "room"}); err != nil {
		t.Fatal(err)
	}
	come := func(name string) *signalingtest.Client {
		client := signalingtest.Dial(t, c.nodes[0].url())
		client.Welcome()
		client.Hello(c.nodes[0].url()+signalingtest.Endpoint, json.RawMessage(`{"guest":"`+name+`"}`), wire.ClientRedirect)
		return client
	}
	gina, mallory := come("gina"), come("mallory")
	answer := gina.AskJoin("room", "gina")
	if answer.Error == nil || answer.Error.Code != wire.CodeRedirect {
		t.Fatalf("answer %s", wire.Encode(answer))
	}
	var d wire.RedirectDetails
	if err := json.Unmarshal(answer.Error.Details, &d); err != nil {
		t.Fatal(err)
	}
	moved := signalingtest.Dial(t, d.URL)
	moved.Welcome()
	moved.HelloTicket(d.Ticket, wire.ClientRedirect)
	moved.Join("room", "gina")
	if answer := mallory.AskJoin("room", "gina"); answer.Error == nil || answer.Error.Code != wire.CodeNoSuchRoom {
		t.Errorf("answer %s", wire.Encode(answer))
	}
	moved.Barrier()
	moved.ExpectNone("an end", func(m *wire.ServerMessage) bool { return m.Type == wire.TypeBye })
}
