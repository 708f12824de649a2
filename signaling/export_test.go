package signaling

import "net/netip"

// Throttled tells whether hellos of an address are refused unseen.
func (h *Hub) Throttled(a netip.Addr) bool { return !h.throttle.allowed(a) }
