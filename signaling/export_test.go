package signaling

import (
	"net/netip"
	"time"

	"github.com/talkd/talkd/store"
)

// Throttled tells whether hellos with guessed resume ids are refused unseen.
func (h *Hub) Throttled(a netip.Addr) bool { return h.deps.Guesses.Wait(doorHello, "resume", a) > 0 }

// DoorHello is where hellos guess.
const DoorHello = doorHello

// ProbeUntil is a ticket of a probe that is good until then.
func ProbeUntil(h *Hub, expires time.Time) string { return h.seals.probe(expires) }

// Deafen keeps a node from reading what a client says, the end of its connection too,
// until the returned function is called.
func Deafen(h *Hub, id store.SessionID) (hear func()) {
	s := h.session(id)
	s.turn.Lock()
	return s.turn.Unlock
}
