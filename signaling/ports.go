package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/turn"
)

// MoveTime is how long a client may take to move to another node.
const MoveTime = moveTime

// Config of the Hub. Zero values take the defaults.
type Config struct {
	// PublicURL is how clients reach this node.
	PublicURL string
	Version   string
	// HelloTimeout is how long a connection may stay without a session.
	HelloTimeout time.Duration
	// ResumeTimeout is how long a session waits for its client to come back,
	// and a room for an edge.
	ResumeTimeout time.Duration
	// JoinTimeout is how long finding a home and entering the room there may
	// take, without the question to the backend, and how long a question to the
	// embedded one. Our own client waits 12 s for an answer.
	JoinTimeout time.Duration
	// RoomLinger is how long an empty room keeps its home.
	RoomLinger time.Duration
	// BackendPing is how often a Nextcloud is told who is still in a room.
	BackendPing time.Duration
	// Bits per second that clients are asked to stay below.
	MaxStreamBitrate, MaxScreenBitrate int
	// MaxSessions of this node.
	MaxSessions int
	// PingInterval is how often a client is asked whether it is still there; it
	// may take a quarter more to answer.
	PingInterval time.Duration
	// LinkBeat is how often nodes tell each other that they are there. One that
	// is not heard for three times as long, or does not hear, is given up.
	LinkBeat time.Duration
	// MovesAtOnce is how many sessions are asked to go to other nodes at one time:
	// each has its media twice meanwhile, and making connections takes the time
	// that what flows needs. None means two for each processor.
	MovesAtOnce int
	// StatsFrom are the networks that may ask for serverinfo and stats.
	StatsFrom []netip.Prefix
	// InternalSecret is what internal clients share with the cluster; without one
	// there are none.
	InternalSecret string
	// NoFederation keeps people from rooms of other signaling servers, and theirs from
	// those of here.
	NoFederation bool
	// FederationNetworks are where other signaling servers may be, besides the public
	// Internet.
	FederationNetworks []netip.Prefix
	// TURN are the TURN servers that services get credentials for which know TURNKey;
	// without one nobody does.
	TURN    turn.Servers
	TURNKey string
	// Dev does not throttle failed hellos from loopback.
	Dev bool
}

const (
	defaultHelloTimeout     = 5 * time.Second
	defaultResumeTimeout    = 30 * time.Second
	defaultRoomLinger       = 15 * time.Second
	defaultBackendPing      = 10 * time.Second
	defaultPingInterval     = 20 * time.Second
	defaultMaxStreamBitrate = 1 << 20
	defaultMaxScreenBitrate = 2 << 20
	defaultMaxSessions      = 50_000
	defaultJoinTimeout      = 8 * time.Second
	defaultLinkBeat         = time.Second
	movesPerProcessor       = 2
)

func (c Config) withDefaults() Config {
	setDefault(&c.HelloTimeout, defaultHelloTimeout)
	setDefault(&c.ResumeTimeout, defaultResumeTimeout)
	setDefault(&c.RoomLinger, defaultRoomLinger)
	setDefault(&c.BackendPing, defaultBackendPing)
	setDefault(&c.MaxStreamBitrate, defaultMaxStreamBitrate)
	setDefault(&c.MaxScreenBitrate, defaultMaxScreenBitrate)
	setDefault(&c.MaxSessions, defaultMaxSessions)
	setDefault(&c.PingInterval, defaultPingInterval)
	setDefault(&c.JoinTimeout, defaultJoinTimeout)
	setDefault(&c.LinkBeat, defaultLinkBeat)
	setDefault(&c.MovesAtOnce, movesPerProcessor*runtime.GOMAXPROCS(0))
	return c
}

func setDefault[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}

// remoteAddr is the client's address: behind a proxy that is trusted, the node
// has put it there.
func remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// Places says which node is the home of a room, met by cluster.Cluster.
type Places interface {
	// Lookup reads what this node knows, without asking anybody.
	Lookup(store.RoomID) (store.Home, bool)
	// Find asks the cluster for a home that this node may not have heard of yet; an
	// error if there is none.
	Find(context.Context, store.RoomID) (store.Home, error)
	// Place gives the home of a room, and lets the cluster decide on one if
	// there is none.
	Place(context.Context, store.RoomID) (store.Home, error)
	// Admit says why nobody more can be taken, nil if somebody can.
	Admit() error
	// Release gives the home of an empty room back.
	Release(ctx context.Context, room store.RoomID, epoch uint64) error
	// Acts tells whether this node may act as the home of the room under that
	// epoch now: it has a lease, and the home before has stopped.
	Acts(room store.RoomID, epoch uint64) bool
	// Watch tells of changes; a reader that lags is told so.
	Watch() (events <-chan store.Event, cancel func())
}

// Node is a node of the cluster, as clients may be sent to it.
type Node struct {
	ID                    store.NodeID
	URL, Version          string // from the record that the node wrote when it joined
	Alive, Draining, Full bool
	Suspect               bool // not alive, but perhaps only slow
	Crowded               bool // much busier than the others
	Overloaded            bool // it leaves out video of its people
}

// Nodes knows the nodes of the cluster.
type Nodes interface {
	Nodes() []Node
	// Changed ticks after each change.
	Changed() (ticks <-chan struct{}, cancel func())
}

// Peers connects to other nodes, met by cluster/rpc.
type Peers interface {
	Dial(store.NodeID) (grpc.ClientConnInterface, error)
	PeerID(context.Context) (store.NodeID, bool)
}

// Sealer seals what only nodes of this cluster may open, for one purpose.
type Sealer interface {
	Seal(plain []byte) string
	Open(sealed string) ([]byte, error)
}

// Embedded is the embedded backend. It is asked the same questions as a
// Nextcloud.
type Embedded interface {
	Authenticate(ctx context.Context, params json.RawMessage) (backend.AuthResponse, error)
	JoinRoom(context.Context, backend.RoomRequest) (backend.RoomResponse, error)
	LeaveRoom(context.Context, backend.RoomRequest) error
}

// Guesses counts wrong guesses of secrets, at all nodes as one; met by guesses.Book.
type Guesses interface {
	// Wait is how long the network of an address has to wait before what it says may be
	// compared with a secret; 0: not at all.
	Wait(door, subject string, from netip.Addr) time.Duration
	Wrong(door, subject string, from netip.Addr)
}

// Deps are what the Hub needs of the others.
type Deps struct {
	Self   store.NodeID
	Engine mcu.Engine
	Places Places
	// HomesOf lists the rooms whose home this node is: after a restart nobody
	// else may speak of them. nil: there are none but those that are spoken of.
	HomesOf func() []store.RoomID
	// EdgesOf lists the nodes where people of a room are, as far as this node can
	// find out; it may ask them. nil: it cannot.
	EdgesOf    func(store.RoomID) []store.NodeID
	Nodes      Nodes
	Peers      Peers
	Guesses    Guesses
	Seal       func(purpose string) Sealer
	Backends   *backend.Client   // nil: no Nextcloud is served
	Registry   *backend.Registry // of the same instances
	Embedded   Embedded          // nil: not served
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

func (d Deps) validate() error {
	if d.Self == "" || d.Engine == nil || d.Places == nil || d.Nodes == nil || d.Peers == nil || d.Guesses == nil || d.Seal == nil || d.Logger == nil {
		return errors.New("signaling: a dependency is missing")
	}
	if (d.Backends == nil) != (d.Registry == nil) {
		return errors.New("signaling: instances need both their registry and their client")
	}
	return nil
}

// origin is scheme and host of a URL, in lower case.
func origin(rawURL string) (string, bool) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.User != nil {
		return "", false
	}
	return lower(u.Scheme) + "://" + lower(u.Host), true
}
