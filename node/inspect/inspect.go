// Package inspect lets the admin API of any node tell of the whole cluster.
//
//	admin API ── Gather ──┬── local report
//	                      └── rpc Report ── each other node
//
// A node that does not answer in time is left out: the operator sees what can
// be seen. Gather owns one goroutine per node, gone when it returns.
package inspect

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/talkd/talkd/store"
)

// reportTimeout bounds what a hung node costs the one who asks.
const reportTimeout = time.Second

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

// Inspector answers for its node and asks the others.
type Inspector struct {
	UnimplementedInspectServer

	self  store.NodeID
	local func() *ReportReply
	peers func() []store.NodeID // alive, without self
	dial  func(store.NodeID) (grpc.ClientConnInterface, error)
	log   *slog.Logger
}

// New makes an Inspector; local tells of this node's rooms.
func New(self store.NodeID, local func() *ReportReply, peers func() []store.NodeID,
	dial func(store.NodeID) (grpc.ClientConnInterface, error), log *slog.Logger,
) *Inspector {
	return &Inspector{self: self, local: local, peers: peers, dial: dial, log: log}
}

// Register adds the service to the node's RPC server.
func (i *Inspector) Register(r grpc.ServiceRegistrar) { RegisterInspectServer(r, i) }

// Report implements InspectServer.
func (i *Inspector) Report(_ context.Context, req *ReportRequest) (*ReportReply, error) {
	all := i.local()
	if req.Room == "" {
		return all, nil
	}
	return &ReportReply{
		Edges:  slices.DeleteFunc(all.Edges, func(e *Edge) bool { return e.Room != req.Room }),
		Relays: slices.DeleteFunc(all.Relays, func(r *Relay) bool { return r.Room != req.Room }),
	}, nil
}

// Gather asks every node about one room, or about all when room is empty.
func (i *Inspector) Gather(ctx context.Context, room string) map[string]*Room {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	req := &ReportRequest{Room: room}
	peers := i.peers()
	replies := make([]*ReportReply, len(peers))
	var wg sync.WaitGroup
	for k, id := range peers {
		wg.Go(func() {
			conn, err := i.dial(id)
			if err == nil {
				replies[k], err = NewInspectClient(conn).Report(ctx, req)
			}
			if err != nil {
				i.log.Debug("node does not report", "peer", id, "error", err)
			}
		})
	}
	rooms := map[string]*Room{}
	if own, err := i.Report(ctx, req); err == nil {
		merge(rooms, i.self, own)
	}
	wg.Wait()
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
