package api

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
)

// The dashboard is one page, so that nothing of it can be had without it, and
// nothing in it comes from anywhere else. It holds no facts.
//
//go:embed dashboard
var dashboard embed.FS

// scripts of the page; each uses what is before it.
func scripts() []string {
	return []string{"parts.js", "net.js", "nodes.js", "rooms.js", "feed.js", "main.js"}
}

// dashboardPage is the page and the policy that allows just what is in it.
func dashboardPage() (page, policy string, err error) {
	read := func(names ...string) string {
		var all strings.Builder
		for _, name := range names {
			b, readErr := dashboard.ReadFile("dashboard/" + name)
			if readErr != nil {
				err = readErr
			}
			all.Write(b)
		}
		return all.String()
	}
	style, script := read("style.css"), "'use strict';\n(() => {\n"+read(scripts()...)+"})();\n"
	page = read("index.html")
	page = strings.Replace(page, "<style></style>", "<style>"+style+"</style>", 1)
	page = strings.Replace(page, "<script></script>", "<script>"+script+"</script>", 1)
	policy = "default-src 'none'; connect-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; script-src " +
		hashOf(script) + "; style-src " + hashOf(style)
	return page, policy, err
}

// hashOf is a source as a content security policy names it.
func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (a *Admin) writePage(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", a.policy)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, a.page) // a browser that is gone needs no page
}
