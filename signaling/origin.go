package signaling

import (
	"net/http"
	"net/url"
	"strings"
)

// fromPage tells whether the client is a page in a browser: those say of what
// origin they are, and apps do not.
func fromPage(r *http.Request) bool { return r.Header.Get("Origin") != "" }

// foreign tells whether the client is a page of a site that has no business here, in
// a browser that shows who it is: with cookies, which are those of a Nextcloud that
// has the host as well. No cookie is looked at, and hello asks for a proof; whoever
// has one may come from any page, such as that of a desktop app.
func (h *Hub) foreign(r *http.Request) bool {
	page := r.Header.Get("Origin")
	if page == "" || r.Header.Get("Cookie") == "" {
		return false
	}
	if u, err := url.Parse(page); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return false
	}
	return !h.ownOrigin(page) && (h.deps.Registry == nil || !h.deps.Registry.HasOrigin(page))
}
