package signaling

import (
	"net/netip"
	"time"

	"github.com/talkd/talkd/store"
)

// Throttled tells whether hellos of an address are refused unseen.
func (h *Hub) Throttled(a netip.Addr) bool { return !h.throttle.allowed(a) }

// ProbeUntil is a ticket of a probe that is good until then.
func ProbeUntil(h *Hub, expires time.Time) string { return h.seals.probe(expires) }

// Deafen keeps a node from reading what a client says, the end of its connection too,
// until the returned function is called.
func Deafen(h *Hub, id store.SessionID) (hear func()) {
	s := h.session(id)
	s.turn.Lock()
	return s.turn.Unlock
}
