package doctor

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
)

// Headers between who looks and a node. The first has a ticket of the admin listener, so that
// the node tells nobody else what the second has.
const (
	headerTicket = "Talkd-Doctor"
	headerSeen   = "Talkd-Doctor-Seen"
)

// seen is how a request has arrived at a node.
type seen struct {
	Peer      string `json:"peer"`      // who has connected to the node: the client, or a proxy
	Forwarded bool   `json:"forwarded"` // it says for whom it speaks
	Trusted   bool   `json:"trusted"`   // and is believed
}

// TellSeen lets a node tell operators how their requests arrive. It stands before
// anything that believes a proxy.
func TellSeen(trusted []netip.Prefix, valid func(ticket string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ticket := r.Header.Get(headerTicket); ticket != "" && valid(ticket) {
			w.Header().Set(headerSeen, howSeen(trusted, r))
		}
		next.ServeHTTP(w, r)
	})
}

func howSeen(trusted []netip.Prefix, r *http.Request) string {
	s := seen{Forwarded: r.Header.Get("X-Forwarded-For") != ""}
	if remote, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer := remote.Addr().Unmap()
		s.Peer = peer.String()
		s.Trusted = slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(peer) })
	}
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b)
}

// seenIn is what a node has told, nil if it has told nothing.
func seenIn(h http.Header) *seen {
	var s seen
	if json.Unmarshal([]byte(h.Get(headerSeen)), &s) != nil {
		return nil
	}
	return &s
}
