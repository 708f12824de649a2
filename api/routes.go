package api

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/talkd/talkd/store"
)

// requestTimeout bounds a request with all that the cluster has to do for it,
// also finding a new leader. It is less than the 10 s that clients wait: they
// are to be told that the cluster cannot decide.
const requestTimeout = 8 * time.Second

// request is one OCS request whose parameters and actor are known.
type request struct {
	*http.Request
	params params
	actor  actor
}

// token is the conversation in the path.
func (r *request) token() string { return r.PathValue("token") }

// access says who may call a route at all; who may do what in a conversation
// is decided by the handler.
type access int

const (
	anybody access = iota
	usersOnly
)

type route struct {
	method, path string
	access       access
	handle       func(context.Context, *request) (reply, error)
}

func (s *Server) table() []route {
	const (
		talk  = "/apps/spreed/api"
		rooms = talk + "/v4/room"
		room  = rooms + "/{token}"
		calls = talk + "/v4/call/{token}"
	)
	return []route{
		{"GET", "/cloud/capabilities", anybody, s.capabilities},
		{"GET", "/cloud/user", usersOnly, s.currentUser},
		{"POST", "/apps/talkd/api/v1/session", anybody, s.logIn},
		{"DELETE", "/apps/talkd/api/v1/session", usersOnly, s.logOut},

		{"GET", rooms, usersOnly, s.listRooms},
		{"POST", rooms, usersOnly, s.createRoom},
		{"GET", room, anybody, s.showRoom},
		{"PUT", room, usersOnly, s.renameRoom},
		{"DELETE", room, usersOnly, s.deleteRoom},

		{"GET", room + "/participants", anybody, s.listParticipants},
		{"POST", room + "/participants", usersOnly, s.addParticipant},
		{"DELETE", room + "/participants/self", usersOnly, s.removeSelf},
		{"POST", room + "/participants/active", anybody, s.joinRoom},
		{"DELETE", room + "/participants/active", anybody, s.leaveRoom},
		{"POST", talk + "/v1/guest/{token}/name", anybody, s.nameGuest},

		{"GET", talk + "/v3/signaling/settings", anybody, s.signalingSettings},

		{"GET", calls, anybody, s.listPeers},
		{"POST", calls, anybody, s.joinCall},
		{"PUT", calls, anybody, s.updateCall},
		{"DELETE", calls, anybody, s.leaveCall},
	}
}

// routes is the whole public handler but for cleaning and CORS.
func (s *Server) routes() http.Handler {
	table := s.table()
	allowed := make(map[string][]string)
	for _, t := range table {
		allowed[t.path] = append(allowed[t.path], t.method)
	}
	version := func(v ocsVersion) http.Handler {
		mux := http.NewServeMux()
		for _, t := range table {
			mux.Handle(t.method+" "+t.path, s.serve(v, t))
		}
		for p, methods := range allowed {
			allow := strings.Join(methods, ", ")
			mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Allow", allow)
				v.writeFailure(w, &failure{status: http.StatusMethodNotAllowed, message: "Allowed methods: " + allow})
			})
		}
		mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { v.writeUnknownRoute(w) })
		return mux
	}
	mux := http.NewServeMux()
	mux.Handle("/ocs/v1.php/", http.StripPrefix("/ocs/v1.php", version(1)))
	mux.Handle("/ocs/v2.php/", http.StripPrefix("/ocs/v2.php", version(2)))
	mux.HandleFunc("GET /status.php", s.status)
	return mux
}

// serve turns a route into a handler.
func (s *Server) serve(v ocsVersion, t route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		answer, err := s.answer(ctx, w, r.WithContext(ctx), t)
		if err == nil {
			s.metrics.requests.WithLabelValues("ok").Inc()
			v.write(w, answer)
			return
		}
		f := failureOf(err)
		if f.status >= http.StatusInternalServerError {
			s.metrics.requests.WithLabelValues("error").Inc()
			s.log.WarnContext(ctx, "request failed", "route", t.method+" "+t.path, "error", err)
		} else {
			s.metrics.requests.WithLabelValues("refused").Inc()
		}
		v.writeFailure(w, f)
	})
}

func (s *Server) answer(ctx context.Context, w http.ResponseWriter, r *http.Request, t route) (reply, error) {
	p, err := readParams(w, r)
	if err != nil {
		return reply{}, err
	}
	a, err := s.authenticate(ctx, r)
	if err != nil {
		return reply{}, err
	}
	if t.access == usersOnly && a.kind != store.ActorUsers {
		return reply{}, errLogin()
	}
	return t.handle(ctx, &request{Request: r, params: p, actor: a})
}

// CleanPath takes empty and dotted elements out of the path before next sees
// it: some bridges write "/v1//chat", and http.ServeMux would send them away.
func CleanPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if !strings.Contains(p, "//") && !strings.Contains(p, "/.") && strings.HasPrefix(p, "/") {
			next.ServeHTTP(w, r)
			return
		}
		clean := path.Clean("/" + p)
		if strings.HasSuffix(p, "/") && clean != "/" {
			clean += "/"
		}
		u := *r.URL
		u.Path, u.RawPath = clean, ""
		r2 := *r
		r2.URL = &u
		next.ServeHTTP(w, &r2)
	})
}
