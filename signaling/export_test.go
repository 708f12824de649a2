package signaling

import (
	"net/netip"
	"time"
)

// Throttled tells whether hellos of an address are refused unseen.
func (h *Hub) Throttled(a netip.Addr) bool { return !h.throttle.allowed(a) }

// ProbeUntil is a ticket of a probe that is good until then.
func ProbeUntil(h *Hub, expires time.Time) string { return h.seals.probe(expires) }
