package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/talkd/talkd/store"
)

// adminTimeout bounds a request for facts. Streams and profiles bound
// themselves.
const adminTimeout = 10 * time.Second

// ClusterFacts are what this node knows of the cluster.
type ClusterFacts interface {
	Cluster(ctx context.Context) ClusterView
}

// RoomFacts are what the nodes know of the rooms that have a home.
type RoomFacts interface {
	Rooms(ctx context.Context, q store.RoomsQuery) RoomsPage
	Room(ctx context.Context, room store.RoomID) (RoomView, bool)
}

// EventSource tells what changes in the cluster: what is remembered, in order,
// and then what comes, without a gap. A reader that lags loses events. When the
// node stops it closes all channels: that ends the streams.
type EventSource interface {
	Subscribe() (history []AdminEvent, events <-chan AdminEvent, cancel func())
}

// JoinTokens lets nodes into the cluster.
type JoinTokens interface {
	// CreateJoinToken gives a token and the command of the node that joins.
	CreateJoinToken(ctx context.Context, ttl time.Duration) (token, command string, err error)
}

// Users are the accounts of the embedded backend, met by *Server.
type Users interface {
	CreateUser(ctx context.Context, u NewUser) error
	ListUsers(ctx context.Context, search string) ([]store.User, error)
}

// AdminConfig of the admin listener.
type AdminConfig struct {
	OperateToken string
	ViewToken    string // reads facts only; "": there is none
}

// AdminDeps are what the Admin needs of the others.
type AdminDeps struct {
	Cluster    ClusterFacts
	Rooms      RoomFacts
	Events     EventSource
	Tokens     JoinTokens
	Users      Users // nil: no embedded backend
	Backends   Backends
	Operations Operations
	Doctor     Doctor
	Ready      func() bool // this node takes traffic
	Gatherer   prometheus.Gatherer
	Logger     *slog.Logger
}

// Admin is the operator's listener.
type Admin struct {
	deps    AdminDeps
	operate [sha256.Size]byte
	view    *[sha256.Size]byte // nil: no token views only
	log     *slog.Logger
	streams chan struct{} // one place per open stream of events
	page    string
	policy  string // of the page
	mux     *http.ServeMux
}

// NewAdmin makes an Admin.
func NewAdmin(cfg AdminConfig, deps AdminDeps) (*Admin, error) {
	if len(cfg.OperateToken) < minAdminToken || (cfg.ViewToken != "" && len(cfg.ViewToken) < minAdminToken) {
		return nil, errors.New("api: admin token too short")
	}
	if deps.Cluster == nil || deps.Rooms == nil || deps.Events == nil || deps.Tokens == nil ||
		deps.Backends == nil || deps.Operations == nil || deps.Doctor == nil || deps.Ready == nil || deps.Gatherer == nil || deps.Logger == nil {
		return nil, errors.New("api: a dependency of the admin listener is missing")
	}
	a := &Admin{
		deps:    deps,
		operate: sha256.Sum256([]byte(cfg.OperateToken)),
		log:     deps.Logger,
		streams: make(chan struct{}, maxStreams),
	}
	var err error
	if a.page, a.policy, err = dashboardPage(); err != nil {
		return nil, err
	}
	if cfg.ViewToken != "" {
		h := sha256.Sum256([]byte(cfg.ViewToken))
		a.view = &h
	}
	a.mux = a.routes()
	return a, nil
}

// adminRole is what a bearer may do.
type adminRole int

const (
	roleNone adminRole = iota
	roleView
	roleOperate
)

func (r adminRole) String() string { return [...]string{"none", "view", "operate"}[r] }

type adminRoute struct {
	method, path string
	role         adminRole
	handle       http.HandlerFunc
}

func (a *Admin) table() []adminRoute {
	facts := func(f func(*http.Request) (any, error)) http.HandlerFunc { return a.answer(http.StatusOK, f) }
	created := func(f func(*http.Request) (any, error)) http.HandlerFunc { return a.answer(http.StatusCreated, f) }
	accepted := func(f func(*http.Request) (any, error)) http.HandlerFunc { return a.answer(http.StatusAccepted, f) }
	table := []adminRoute{
		{"GET", "/healthz", roleNone, a.healthz},
		{"GET", "/readyz", roleNone, a.readyz},
		{"GET", "/{$}", roleView, func(w http.ResponseWriter, _ *http.Request) { a.writePage(w, http.StatusOK) }},
		{"GET", "/metrics", roleView, promhttp.HandlerFor(a.deps.Gatherer, promhttp.HandlerOpts{}).ServeHTTP},
		{"GET", "/debug/pprof/{profile...}", roleOperate, profiles},
		{"GET", "/admin/v1/cluster", roleView, facts(a.cluster)},
		{"GET", "/admin/v1/nodes", roleView, facts(a.nodes)},
		{"GET", "/admin/v1/nodes/{id}", roleView, facts(a.node)},
		{"GET", "/admin/v1/rooms", roleView, facts(a.rooms)},
		{"GET", "/admin/v1/rooms/{id}", roleView, facts(a.room)},
		{"GET", "/admin/v1/events", roleView, a.events},
		{"POST", "/admin/v1/join-tokens", roleOperate, created(a.createJoinToken)},
		{"POST", "/admin/v1/nodes/{id}/drain", roleOperate, accepted(a.drain)},
		{"POST", "/admin/v1/nodes/{id}/undrain", roleOperate, accepted(a.undrain)},
		{"DELETE", "/admin/v1/nodes/{id}", roleOperate, accepted(a.removeNode)},
		{"POST", "/admin/v1/rooms/{id}/move", roleOperate, accepted(a.moveRoom)},
		{"POST", "/admin/v1/keys/{key}/rotate", roleOperate, accepted(a.rotateKey)},
		{"POST", "/admin/v1/doctor", roleOperate, facts(a.examine)},
		{"GET", "/admin/v1/backends", roleView, facts(a.listBackends)},
		{"POST", "/admin/v1/backends", roleOperate, created(a.putBackend)},
		{"DELETE", "/admin/v1/backends/{id}", roleOperate, facts(a.removeBackend)},
	}
	if a.deps.Users != nil {
		table = append(table,
			adminRoute{"GET", "/admin/v1/users", roleView, facts(a.listUsers)},
			adminRoute{"POST", "/admin/v1/users", roleOperate, created(a.createUser)})
	}
	return table
}

func (a *Admin) routes() *http.ServeMux {
	mux := http.NewServeMux()
	allowed := make(map[string][]string)
	for _, t := range a.table() {
		handle := t.handle
		if t.role == roleOperate {
			handle = a.operators(handle)
		}
		mux.HandleFunc(t.method+" "+t.path, handle)
		allowed[t.path] = append(allowed[t.path], t.method)
	}
	for p, methods := range allowed {
		allow := strings.Join(methods, ", ")
		mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow)
			writeAdminError(w, http.StatusMethodNotAllowed, "this path takes "+allow)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeAdminError(w, http.StatusNotFound, "nothing is served at this path by this version, docs/api.md lists what is")
	})
	return mux
}

// Handler answers the admin listener. The server needs no WriteTimeout: events
// and profiles take as long as they take, and bound themselves.
func (a *Admin) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		open := r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		role := a.role(r)
		if role != roleNone {
			h.Set("Talkd-Role", role.String())
		}
		if !open && role == roleNone {
			h.Set("WWW-Authenticate", `Bearer realm="talkd admin"`)
			if r.URL.Path == "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
				// The page asks for the token: browsers show it also with 401.
				a.writePage(w, http.StatusUnauthorized)
				return
			}
			writeAdminError(w, http.StatusUnauthorized, "an admin token is wanted: Authorization: Bearer TOKEN, the node wrote one to DATA/admin.token")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
		a.mux.ServeHTTP(w, r)
	})
}

// role compares hashes, so that neither content nor length shows in the time.
func (a *Admin) role(r *http.Request) adminRole {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return roleNone
	}
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	if subtle.ConstantTimeCompare(got[:], a.operate[:]) == 1 {
		return roleOperate
	}
	if a.view != nil && subtle.ConstantTimeCompare(got[:], a.view[:]) == 1 {
		return roleView
	}
	return roleNone
}

func (a *Admin) operators(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if a.role(r) != roleOperate {
			writeAdminError(w, http.StatusForbidden, "this token may only look: use the operate token of DATA/admin.token")
			return
		}
		next(w, r)
	}
}

// profiles answers as net/http/pprof does on the default mux. How long one takes
// is for the operator to say.
func profiles(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // not each writer has deadlines
	switch r.PathValue("profile") {
	case "cmdline":
		pprof.Cmdline(w, r)
	case "profile":
		pprof.Profile(w, r)
	case "symbol":
		pprof.Symbol(w, r)
	case "trace":
		pprof.Trace(w, r)
	default:
		pprof.Index(w, r)
	}
}

func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, struct {
		Status string `json:"status"`
	}{"ok"})
}

func (a *Admin) readyz(w http.ResponseWriter, _ *http.Request) {
	status, state := http.StatusOK, "ready"
	if !a.deps.Ready() {
		status, state = http.StatusServiceUnavailable, "not ready"
	}
	writeJSON(w, status, struct {
		Status string `json:"status"`
	}{state})
}
