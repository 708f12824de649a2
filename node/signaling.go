package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/signaling"
	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// openSignaling makes the hub, and the embedded backend that it asks and that
// tells it of calls.
func (n *Node) openSignaling() error {
	instances := make([]backend.Instance, len(n.cfg.Signaling.Backends))
	for i, b := range n.cfg.Signaling.Backends {
		instances[i] = backend.Instance{URL: b.URL, MoreURLs: b.MoreURLs, Secret: b.Secret, Limits: backend.Limits{
			Sessions: b.MaxSessions, MaxStreamBitrate: b.MaxVideoBitrate, MaxScreenBitrate: b.MaxScreenBitrate,
		}}
	}
	registry, err := backend.NewRegistry(instances)
	if err != nil {
		return fmt.Errorf("signaling.backends: %w", err)
	}
	cfg, err := n.signalingConfig()
	if err != nil {
		return err
	}
	n.backends, err = backend.NewClient(backend.Config{Features: cfg.Features(), UserAgent: "talkd/" + n.version, Logger: n.log}, registry, n.registry)
	if err != nil {
		return err
	}
	deps := signaling.Deps{
		Self: n.cluster.Self(), Engine: mcu.Real(n.engine), Places: n.places(), HomesOf: n.homes, EdgesOf: n.edgesOf, Nodes: nodes{n.cluster}, Peers: peers{n.cluster.RPC()}, Guesses: n.cluster.Guesses(),
		Seal:     func(purpose string) signaling.Sealer { return n.cluster.Sealer(purpose) },
		Backends: n.backends, Registry: registry, Logger: n.log, Registerer: n.registry,
	}
	switch {
	case !n.cfg.Signaling.Embedded:
	case n.state == nil:
		n.openForwarding()
		deps.Embedded, n.book = asker{n.forward}, asker{n.forward}
	default:
		n.api, err = api.New(api.Config{PublicURL: n.cfg.HTTP.PublicURL, Dev: n.cfg.Node.Dev, TURN: cfg.TURN}, api.Deps{
			DB: n.state.DB(), Proposer: n.cluster, Sealer: n.cluster.Sealer("api"), Places: homes{n}, Calls: calls{n}, Guesses: n.cluster.Guesses(),
			Origins: n.origins, ServedAt: n.servedAt, Logger: n.log, Registerer: n.registry,
		})
		if err != nil {
			return err
		}
		n.openAnswers()
		deps.Embedded, n.book = embedded{n.api}, n.api
	}
	if n.hub, err = signaling.NewHub(cfg, deps); err != nil {
		return err
	}
	n.nextclouds = &backendBook{configured: instances, registry: registry, cluster: n.cluster, sessions: n.hub.SessionsOf, log: n.log}
	mesh := n.cluster.RPC()
	mesh.Register(n.hub.Register)
	local := inspect.Local{Report: n.report, Condition: n.condition, Told: n.events.told, Examine: n.examine}
	n.inspector = inspect.New(n.cluster.Self(), local, n.peersAlive, mesh.Dial, n.log)
	mesh.Register(n.inspector.Register)
	n.edges = &edgeCache{gather: n.inspector.Gather}
	n.operations = n.newOperations()
	return nil
}

func (n *Node) signalingConfig() (signaling.Config, error) {
	door := n.cfg.Signaling
	readers, err := door.Readers()
	if err != nil {
		return signaling.Config{}, err
	}
	federation, err := door.FederationPrefixes()
	if err != nil {
		return signaling.Config{}, err
	}
	servers, err := n.cfg.TURN.Parse()
	return signaling.Config{
		PublicURL: n.cfg.HTTP.PublicURL, Version: n.version, Dev: n.cfg.Node.Dev,
		HelloTimeout: door.HelloTimeout, ResumeTimeout: door.ResumeTimeout,
		MaxStreamBitrate: n.cfg.Media.MaxVideoBitrate, MaxScreenBitrate: n.cfg.Media.MaxScreenBitrate,
		MaxSessions: door.MaxSessions, StatsFrom: readers, InternalSecret: door.InternalSecret,
		NoFederation: !door.Federation, FederationNetworks: federation,
		TURN: servers, TURNKey: n.cfg.TURN.APIKey,
	}, err
}

// peers meets signaling.Peers.
type peers struct{ *rpc.Mesh }

func (peers) PeerID(ctx context.Context) (store.NodeID, bool) { return rpc.PeerID(ctx) }

// nodes meets signaling.Nodes.
type nodes struct{ cluster *cluster.Cluster }

func (n nodes) Changed() (<-chan struct{}, func()) { return n.cluster.WatchMembers() }

func (n nodes) Nodes() []signaling.Node {
	members := n.cluster.Members()
	list := make([]signaling.Node, 0, len(members))
	for _, m := range members {
		if !m.Has(store.RoleSignaling) {
			continue // clients have nothing to do with it
		}
		list = append(list, signaling.Node{
			ID: m.ID, URL: m.PublicURL, Version: m.Version,
			Alive: m.State == cluster.StateAlive || m.State == cluster.StateDraining, Suspect: m.State == cluster.StateSuspect,
			Draining: m.State == cluster.StateDraining, Full: m.Load.Full(), Crowded: m.Load.Crowded, Overloaded: m.Load.Overloaded(),
		})
	}
	return list
}

// elsewhere is the URL of the node that clients of the room should go to.
func (n *Node) elsewhere(room store.RoomID) (publicURL string, ok bool) {
	home, ok := n.hub.Elsewhere(room)
	return home.URL, ok
}

// homes are the rooms that this node is the home of.
func (n *Node) homes() []store.RoomID { return n.cluster.HomesOf(n.cluster.Self()) }

// homes meets api.Places.
type homes struct{ n *Node }

func (h homes) Elsewhere(room store.RoomID) (publicURL string, ok bool) { return h.n.elsewhere(room) }

// places meets signaling.Places.
type places struct {
	*cluster.Cluster
	hint       cluster.Hint
	overloaded func() bool // this node
}

func (n *Node) places() places {
	return places{
		n.cluster, cluster.Hint{Node: n.cluster.Self(), Region: n.cfg.Node.Region},
		func() bool { return n.meter.measure().share > 0 },
	}
}

// Place is the cluster's, for somebody who is here.
func (p places) Place(ctx context.Context, room store.RoomID) (store.Home, error) {
	home, err := p.Cluster.Place(ctx, room, p.hint)
	if errors.Is(err, cluster.ErrNoQuorum) {
		err = fmt.Errorf("%w: %w", signaling.ErrUndecided, err)
	}
	return home, err
}

var errOverloaded = errors.New("this node leaves out video of those who are in")

// Admit is the cluster's, in words for clients. Who can go to another node has
// been sent there before it is asked.
func (p places) Admit() error {
	if p.overloaded() {
		return fmt.Errorf("%w: %w", wire.ErrClusterFull, errOverloaded)
	}
	if err := p.Cluster.Admit(); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrClusterFull, err)
	}
	return nil
}

func (p places) Release(ctx context.Context, room store.RoomID, epoch uint64) error {
	_, err := p.Propose(ctx, store.NewReleaseRoom(time.Now(), room, epoch))
	return err
}

// embedded meets signaling.Embedded: the embedded backend is asked as a
// Nextcloud would be.
type embedded struct{ api *api.Server }

func (e embedded) Authenticate(ctx context.Context, params json.RawMessage) (backend.AuthResponse, error) {
	id, err := e.api.AuthenticateTicket(ctx, params)
	switch {
	case errors.Is(err, api.ErrTicketExpired):
		return backend.AuthResponse{}, wire.ErrTokenExpired
	case errors.Is(err, api.ErrBadTicket):
		return backend.AuthResponse{}, wire.ErrInvalidTicket
	case err != nil:
		return backend.AuthResponse{}, fmt.Errorf("%w: %w", wire.ErrAuthFailed, err)
	}
	return backend.AuthResponse{UserID: id.UserID, GuestID: id.GuestID, User: id.User}, nil
}

func (e embedded) JoinRoom(ctx context.Context, r backend.RoomRequest) (backend.RoomResponse, error) {
	entry, err := e.api.AuthorizeJoin(ctx, r.Room.Name, api.Identity{UserID: r.UserID, GuestID: r.GuestID}, string(r.SessionID))
	switch {
	case errors.Is(err, api.ErrNoRoom):
		return backend.RoomResponse{}, wire.ErrNoSuchRoom
	case err != nil:
		return backend.RoomResponse{}, fmt.Errorf("%w: %w", wire.ErrRoomJoinFailed, err)
	}
	return backend.RoomResponse{RoomID: r.Room.Name, Properties: entry.Properties, Permissions: entry.Permissions, Session: entry.Session}, nil
}

// LeaveRoom has nothing to do: who is in a conversation is known at its home.
func (embedded) LeaveRoom(context.Context, backend.RoomRequest) error { return nil }

// calls meets api.Calls.
type calls struct{ n *Node }

func (c calls) InCall(ctx context.Context, room string, changed, all []api.CallParticipant) error {
	if len(changed) == 0 {
		return nil
	}
	in := &backend.InCall{InCall: backend.Flags(changed[0].InCall)}
	var err error
	if in.Changed, err = participants(changed); err != nil {
		return err
	}
	if in.Users, err = participants(all); err != nil {
		return err
	}
	err = c.n.hub.Notify(ctx, store.RoomID{Name: room}, backend.Request{Type: backend.TypeInCall, InCall: in})
	switch {
	case errors.Is(err, signaling.ErrNoSession):
		return fmt.Errorf("%w: %w", api.ErrNoSession, err)
	case err != nil:
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return nil
}

func (c calls) End(ctx context.Context, room string) error {
	end := &backend.InCall{All: true}
	if err := c.n.hub.Notify(ctx, store.RoomID{Name: room}, backend.Request{Type: backend.TypeInCall, InCall: end}); err != nil {
		return fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	return nil
}

func (c calls) Status(ctx context.Context, room string) (api.CallStatus, error) {
	status, err := c.n.hub.RoomStatus(ctx, store.RoomID{Name: room})
	if err != nil {
		return api.CallStatus{}, fmt.Errorf("%w: %w", api.ErrUnavailable, err)
	}
	out := api.CallStatus{Since: status.Since, Sessions: make([]api.CallSession, len(status.Sessions))}
	for i, s := range status.Sessions {
		out.Sessions[i] = api.CallSession{SessionID: string(s.RoomSession), InCall: s.InCall}
	}
	return out, nil
}

// participants writes what the API says of sessions the way a Nextcloud does:
// clients get to see it as it is.
func participants(list []api.CallParticipant) ([]backend.Participant, error) {
	b, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	var out []backend.Participant
	return out, json.Unmarshal(b, &out)
}
