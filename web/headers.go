package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxOrigins bounds the policy header; a cluster has fewer nodes.
const maxOrigins = 128

// secure sets the headers that confine the page: nothing inline, nothing from
// elsewhere, connections only to the nodes of the cluster.
func secure(h http.Header, origins func() []string) {
	connect := []string{"'self'"}
	if origins != nil {
		connect = append(connect, connectSources(origins())...)
	}
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src 'self' data: blob:",
		"media-src 'self' blob: mediastream:",
		"font-src 'self'",
		"connect-src " + strings.Join(connect, " "),
		"manifest-src 'self'",
		"worker-src 'self'",
		"base-uri 'none'",
		"form-action 'self'",
		"frame-ancestors 'none'",
	}, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), "+
		"speaker-selection=(self), autoplay=(self), fullscreen=(self), picture-in-picture=(self), "+
		"geolocation=(), payment=(), usb=(), serial=(), midi=()")
}

// connectSources turns public URLs of nodes into the sources the client needs:
// the API and the WebSocket of each. What is no http URL is left out, so that
// a damaged member record cannot widen the policy.
func connectSources(urls []string) []string {
	var sources []string
	for _, raw := range urls[:min(len(urls), maxOrigins)] {
		u, err := url.Parse(raw)
		if err != nil || u.Hostname() == "" || strings.ContainsAny(u.Host, "*;, '\"\t\r\n") {
			continue
		}
		switch u.Scheme {
		case "http":
			sources = append(sources, "http://"+u.Host, "ws://"+u.Host)
		case "https":
			sources = append(sources, "https://"+u.Host, "wss://"+u.Host)
		}
	}
	slices.Sort(sources)
	return slices.Compact(sources)
}
