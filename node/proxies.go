package node

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behindProxies puts the true client into RemoteAddr, so that no door needs to
// know of proxies: the last address of X-Forwarded-For that none of the trusted
// proxies wrote. What others put into the header is not believed.
func behindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		remote, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			next.ServeHTTP(w, r)
			return
		}
		if client := clientBehind(trusted, remote.Addr().Unmap(), r.Header.Values("X-Forwarded-For")); client != remote.Addr() {
			r = r.WithContext(r.Context()) // a copy: the caller's request stays as it is
			r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}

func clientBehind(trusted []netip.Prefix, addr netip.Addr, forwarded []string) netip.Addr {
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, hop := range slices.Backward(hops) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			break
		}
		before, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		addr = before.Unmap().WithZone("")
	}
	return addr
}
