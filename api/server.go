package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/turn"
)

// Config of the Talk API.
type Config struct {
	// PublicURL is how clients reach this node.
	PublicURL string
	// Dev accepts short passwords and does not throttle loopback.
	Dev bool
	// LoginLifetime is how long a login lasts; zero takes the default.
	LoginLifetime time.Duration
	// TURN are the servers that clients are told of.
	TURN turn.Servers
}

// DefaultLoginLifetime is how long a login lasts.
const DefaultLoginLifetime = 90 * 24 * time.Hour

// Proposer commits a command and applies it on this node, met by
// cluster.Cluster.
type Proposer interface {
	Propose(context.Context, store.Command) (store.Result, error)
}

// Sealer seals what only this cluster may open, met by cluster.Sealer. Seal
// returns "" as long as the cluster has no secret.
type Sealer interface {
	Seal(plain []byte) string
	Open(sealed string) ([]byte, error)
}

// Places says where a room is served. It looks up and never places.
type Places interface {
	// Elsewhere is the public URL of the node that clients of the room should
	// go to: its home, if that is another node that is alive and takes
	// traffic. The URL is the one in that node's record.
	Elsewhere(room store.RoomID) (publicURL string, ok bool)
}

// Calls is the live side of the conversations: the room at its home, met by
// signaling through node.
type Calls interface {
	// InCall tells the room's sessions whose flags changed, and who is in the
	// call after that. It returns ErrNoSession if none of the changed is there.
	InCall(ctx context.Context, room string, changed, all []CallParticipant) error
	// End takes everybody out of the call, and tells them that it was ended. A
	// room that nobody is in needs nothing.
	End(ctx context.Context, room string) error
	// Status tells who is in the room. A room that nobody is in has an empty
	// one; asking does not place it.
	Status(ctx context.Context, room string) (CallStatus, error)
}

// CallParticipant is a session and its call flags, as Talk tells signaling.
type CallParticipant struct {
	InCall          int    `json:"inCall"`
	LastPing        int64  `json:"lastPing"`
	SessionID       string `json:"sessionId"` // of Talk, not of signaling
	ParticipantType int    `json:"participantType"`
	Permissions     int    `json:"participantPermissions"`
	ActorType       string `json:"actorType"`
	ActorID         string `json:"actorId"`
	UserID          string `json:"userId,omitempty"`
	DisplayName     string `json:"displayName,omitempty"`
}

// CallStatus is what the home knows of a room's sessions.
type CallStatus struct {
	// Since is when the call began; zero without a call.
	Since    time.Time
	Sessions []CallSession
}

// CallSession is a session that is in the room. Everything else about it is
// sealed in its id.
type CallSession struct {
	SessionID string // of Talk
	InCall    int    // flags; 0: in the room, not in the call
}

// Guesses counts wrong guesses of secrets, at all nodes as one; met by guesses.Book.
type Guesses interface {
	// Try lets the network of an address guess, or is how long it has to wait. When it
	// is 0 one of the others says what came of it; until then it counts as wrong.
	Try(door, subject string, from netip.Addr) time.Duration
	Wrong(door, subject string, from netip.Addr)
	Right(door, subject string, from netip.Addr)
	Undo(door, subject string, from netip.Addr) // nobody looked
}

// Deps are what the Server needs of the others.
type Deps struct {
	DB       *store.DB
	Proposer Proposer
	Sealer   Sealer
	Places   Places
	Calls    Calls
	Guesses  Guesses
	Origins  func() []string // web origins of all nodes
	// ServedAt is the URL of the node that holds the sockets of whoever sent a
	// request; nil: this one's.
	ServedAt   func(context.Context) string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
}

// Server answers the Talk API. Its methods may be called at the same time.
type Server struct {
	cfg       Config
	state     *state
	sealer    Sealer
	places    Places
	calls     Calls
	origins   func() []string
	servedAt  func(context.Context) string
	log       *slog.Logger
	metrics   *metrics
	now       func() time.Time
	passwords *passwords
	guesses   Guesses
	checks    singleflight.Group // of passwords
	handler   http.Handler
}

// New makes a Server.
func New(cfg Config, deps Deps) (*Server, error) {
	u, err := url.Parse(cfg.PublicURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("public URL %q is not http(s)://host", cfg.PublicURL)
	}
	if cfg.LoginLifetime <= 0 {
		cfg.LoginLifetime = DefaultLoginLifetime
	}
	if deps.DB == nil || deps.Proposer == nil || deps.Sealer == nil || deps.Places == nil || deps.Calls == nil || deps.Guesses == nil || deps.Logger == nil {
		return nil, errors.New("api: a dependency is missing")
	}
	if deps.Origins == nil {
		deps.Origins = func() []string { return nil }
	}
	if deps.ServedAt == nil {
		deps.ServedAt = func(context.Context) string { return cfg.PublicURL }
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:       cfg,
		state:     &state{db: deps.DB, proposer: deps.Proposer, now: deps.Now},
		sealer:    deps.Sealer,
		places:    deps.Places,
		calls:     deps.Calls,
		origins:   deps.Origins,
		servedAt:  deps.ServedAt,
		log:       deps.Logger,
		metrics:   m,
		now:       deps.Now,
		passwords: newPasswords(argonMemory),
		guesses:   deps.Guesses,
	}
	s.handler = CleanPath(s.crossOrigin(s.routes()))
	return s, nil
}

// Handler answers /status.php and everything below /ocs/. A mux in front of it
// must not redirect unclean paths: wrap that in CleanPath too.
func (s *Server) Handler() http.Handler { return s.handler }
