package node

import (
	"io"
	"net/http"
	"strings"

	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/web"
)

// loginCookie is set by the web client's pages while somebody is logged in on
// this origin. It says only that, and carries no token.
const loginCookie = "talkd_login"

// onlyBackend is for whoever looks what is at the URL that a Nextcloud has.
const onlyBackend = "talkd: a high-performance backend of Nextcloud Talk. People enter calls in their Nextcloud; /api/v1/welcome tells the version.\n"

// pages are those of the web client. It logs in at the embedded backend: without that
// there are none.
func pages(embedded bool, elsewhere func(store.RoomID) (url string, ok bool), origins func() []string) http.Handler {
	if embedded {
		return redirectPages(elsewhere, web.Handler(web.Config{Origins: origins}))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, onlyBackend) // the client is gone
	})
	return mux
}

// redirectPages sends somebody who opens the page of a conversation to its
// home: 307 with "?redirect=0", so that nobody is sent twice. Somebody with a
// login on this origin would lose it there, and stays. A conversation that is
// unknown or has no home is answered with the page like any other.
func redirectPages(elsewhere func(store.RoomID) (url string, ok bool), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.URL.Path, "/call/")
		if !ok || r.Method != http.MethodGet || r.URL.Query().Get("redirect") == "0" {
			next.ServeHTTP(w, r)
			return
		}
		// The answer depends on who asks and on where the room is now.
		w.Header().Add("Vary", "Cookie")
		room := store.RoomID{Name: token}
		if c, err := r.Cookie(loginCookie); (err == nil && c.Value == "1") || room.Validate() != nil {
			next.ServeHTTP(w, r)
			return
		}
		url, ok := elsewhere(room)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, url+r.URL.EscapedPath()+"?redirect=0", http.StatusTemporaryRedirect)
	})
}
