// Package inspect lets the admin API of any node tell of the whole cluster.
//
//	admin API ── Gather, Conditions ──┬── this node
//	                                  └── rpc Report, Condition ── each other node
//	operation ── Tell ──── rpc Tell ── each other node ── Told ── its events
//	doctor ── ExamineAll ─ rpc Examine ── each other node ── asks its Nextclouds
//
// A node that does not answer in time is left out: the operator sees what can
// be seen. Each call owns one goroutine per node, gone when it returns.
package inspect

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/store"
)

// reportTimeout bounds what a hung node costs the one who asks.
const reportTimeout = time.Second

// Limits of what a node may ask or tell.
const (
	maxRooms = 1000
	maxText  = 1024
)

// Room is what the cluster knows of a room's live part.
type Room struct {
	Edges  []EdgeView
	Relays []RelayView
}

// EdgeView is a node's part of a room.
type EdgeView struct {
	Node                              store.NodeID
	Sessions, Publishers, Subscribers int
}

// RelayView is what one node brings from another for a room.
type RelayView struct {
	From, To store.NodeID
	Tracks   int
	Bps      float64
	Lost     uint64
}

// Local is the node's own part. Its functions must not block.
type Local struct {
	Report    func() *ReportReply
	Condition func() *ConditionReply
	Told      func(*OpEvent) // what another node says of an operation that it follows
	// Examine may take as long as its context lets it.
	Examine func(context.Context) *ExamineReply
}

// Inspector answers for its node and asks the others.
type Inspector struct {
	UnimplementedInspectServer

	self  store.NodeID
	local Local
	peers func() []store.NodeID // alive, without self
	dial  func(store.NodeID) (grpc.ClientConnInterface, error)
	log   *slog.Logger

	conditions conditions
}

// New makes an Inspector.
func New(self store.NodeID, local Local, peers func() []store.NodeID,
	dial func(store.NodeID) (grpc.ClientConnInterface, error), log *slog.Logger,
) *Inspector {
	return &Inspector{self: self, local: local, peers: peers, dial: dial, log: log}
}

// Register adds the service to the node's RPC server.
func (i *Inspector) Register(r grpc.ServiceRegistrar) { RegisterInspectServer(r, i) }

// Report implements InspectServer.
func (i *Inspector) Report(_ context.Context, req *ReportRequest) (*ReportReply, error) {
	if len(req.Rooms) > maxRooms {
		return nil, status.Error(codes.InvalidArgument, "too many rooms")
	}
	all := i.local.Report()
	if len(req.Rooms) == 0 {
		return all, nil
	}
	wanted := make(map[string]bool, len(req.Rooms))
	for _, room := range req.Rooms {
		wanted[room] = true
	}
	return &ReportReply{
		Edges:  slices.DeleteFunc(all.Edges, func(e *Edge) bool { return !wanted[e.Room] }),
		Relays: slices.DeleteFunc(all.Relays, func(r *Relay) bool { return !wanted[r.Room] }),
	}, nil
}

// Tell implements InspectServer.
func (i *Inspector) Tell(_ context.Context, e *OpEvent) (*TellReply, error) {
	for _, text := range []string{e.Op, e.Kind, e.Phase, e.Room, e.Node, e.Home, e.From, e.Detail} {
		if len(text) > maxText {
			return nil, status.Error(codes.InvalidArgument, "too long")
		}
	}
	if e.Op == "" || e.Kind == "" {
		return nil, status.Error(codes.InvalidArgument, "no event of an operation")
	}
	i.local.Told(e)
	return &TellReply{}, nil
}

// TellAll brings an event to the other nodes, as far as they answer.
func (i *Inspector) TellAll(ctx context.Context, e *OpEvent) {
	askAll(ctx, i, i.peers(), func(ctx context.Context, c InspectClient) (*TellReply, error) { return c.Tell(ctx, e) })
}

// Gather asks every node about some rooms, or about all when none is named.
func (i *Inspector) Gather(ctx context.Context, only ...string) map[string]*Room {
	req := &ReportRequest{Rooms: only}
	peers := i.peers()
	replies := askAll(ctx, i, peers, func(ctx context.Context, c InspectClient) (*ReportReply, error) { return c.Report(ctx, req) })
	rooms := map[string]*Room{}
	if own, err := i.Report(ctx, req); err == nil {
		merge(rooms, i.self, own)
	}
	for k, reply := range replies {
		if reply != nil {
			merge(rooms, peers[k], reply)
		}
	}
	for _, r := range rooms {
		slices.SortFunc(r.Edges, func(a, b EdgeView) int { return cmp.Compare(a.Node, b.Node) })
		slices.SortFunc(r.Relays, func(a, b RelayView) int {
			return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
		})
	}
	return rooms
}

// askAll asks the peers, all at the same time; who does not answer leaves nil.
func askAll[T any](ctx context.Context, i *Inspector, peers []store.NodeID, call func(context.Context, InspectClient) (*T, error)) []*T {
	return askWithin(ctx, reportTimeout, i, peers, call)
}

func askWithin[T any](ctx context.Context, limit time.Duration, i *Inspector, peers []store.NodeID, call func(context.Context, InspectClient) (*T, error)) []*T {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	replies := make([]*T, len(peers))
	var wg sync.WaitGroup
	for k, id := range peers {
		wg.Go(func() {
			conn, err := i.dial(id)
			if err == nil {
				replies[k], err = call(ctx, NewInspectClient(conn))
			}
			if err != nil {
				i.log.Debug("node does not answer", "peer", id, "error", err)
				replies[k] = nil
			}
		})
	}
	wg.Wait()
	return replies
}

func merge(rooms map[string]*Room, node store.NodeID, reply *ReportReply) {
	at := func(id string) *Room {
		if rooms[id] == nil {
			rooms[id] = new(Room)
		}
		return rooms[id]
	}
	for _, e := range reply.Edges {
		r := at(e.Room)
		r.Edges = append(r.Edges, EdgeView{Node: node, Sessions: int(e.Sessions), Publishers: int(e.Publishers), Subscribers: int(e.Subscribers)})
	}
	for _, l := range reply.Relays {
		r := at(l.Room)
		r.Relays = append(r.Relays, RelayView{From: store.NodeID(l.From), To: node, Tracks: int(l.Tracks), Bps: l.Bps, Lost: l.Lost})
	}
}
