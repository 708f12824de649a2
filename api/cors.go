package api

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// crossOrigin lets the pages of the other nodes call this one: a client whose
// node dies goes on elsewhere. There are no cookies to protect, so what is
// allowed is exactly what the bearer of a token may do.
func (s *Server) crossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin == "" {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Add("Vary", "Origin")
		allowed := slices.ContainsFunc(s.origins(), func(o string) bool { return sameOrigin(o, origin) })
		if allowed {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "Retry-After")
		}
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		if allowed {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
			h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, OCS-APIRequest")
			h.Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// sameOrigin compares a node's URL, which may have a path, with an Origin.
func sameOrigin(node, origin string) bool {
	n, err := url.Parse(node)
	if err != nil {
		return false
	}
	o, err := url.Parse(origin)
	return err == nil && o.Host != "" && o.Path == "" && strings.EqualFold(n.Scheme, o.Scheme) && strings.EqualFold(hostPort(n), hostPort(o))
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	switch u.Scheme {
	case "https":
		return u.Host + ":443"
	case "http":
		return u.Host + ":80"
	}
	return u.Host
}
