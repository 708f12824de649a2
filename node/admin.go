package node

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/node/config"
	"github.com/talkd/talkd/node/inspect"
	"github.com/talkd/talkd/store"
)

func (n *Node) newAdmin() (http.Handler, error) {
	tokens, err := adminTokens(n.cfg.Node.Data)
	if err != nil {
		return nil, err
	}
	deps := api.AdminDeps{
		Cluster: clusterFacts{n}, Rooms: roomFacts{n}, Events: n.events, Tokens: joinTokens{n}, Backends: n.nextclouds, Operations: n.operations,
		Doctor: examiner{n},
		Ready:  n.takesTraffic, Gatherer: documented{n.registry}, Logger: n.log,
	}
	if n.api != nil {
		deps.Users = n.api
	}
	admin, err := api.NewAdmin(tokens, deps)
	if err != nil {
		return nil, err
	}
	return admin.Handler(), nil
}

// adminTokens reads the tokens of the admin listener, or makes them at the first
// start.
func adminTokens(dir string) (tokens api.AdminConfig, err error) {
	if tokens.OperateToken, err = api.LoadOrCreateToken(filepath.Join(dir, config.AdminTokenFile)); err != nil {
		return tokens, err
	}
	tokens.ViewToken, err = api.LoadOrCreateToken(filepath.Join(dir, config.ViewTokenFile))
	return tokens, err
}

// clusterFacts meets api.ClusterFacts.
type clusterFacts struct{ n *Node }

func (f clusterFacts) Cluster(ctx context.Context) api.ClusterView {
	n := f.n
	conditions := n.inspector.Conditions(ctx)
	s := n.cluster.Status()
	v := api.ClusterView{
		ClusterID: s.ClusterID, Leader: string(s.Leader), Term: s.Term, CommitIndex: s.Commit, AppliedIndex: s.Applied,
		Quorum: s.Quorum, Voters: s.Voters, VotersAlive: s.Alive, FailureTolerance: s.Tolerance, Rooms: s.Rooms, Headroom: s.Headroom, Version: n.version,
	}
	for _, m := range n.cluster.Members() {
		view := nodeView(m, time.Now())
		if c, ok := conditions[m.ID]; ok && m.State != cluster.StateDead {
			view.Health = &api.Condition{
				DiskFreeBytes: c.DiskFree, DiskSizeBytes: c.DiskSize, ClockOffsetS: c.ClockOffset.Seconds(), CertificateExpires: c.CertificateExpires,
			}
		}
		v.Nodes = append(v.Nodes, view)
		v.Sessions += view.Load.Sessions
	}
	return v
}

func nodeView(m cluster.Member, now time.Time) api.NodeView {
	l := m.Load
	v := api.NodeView{
		ID: string(m.ID), URL: m.PublicURL, Region: m.Region, Roles: m.Roles, Version: m.Version, Raft: string(m.Raft), State: string(m.State),
		Load: api.LoadView{
			CPU: l.CPU, EgressBps: l.EgressBps, IngressBps: l.IngressBps, EgressPps: l.EgressPps,
			Sessions: l.Sessions, Publishers: l.Publishers, Subscribers: l.Subscribers, Rooms: m.Rooms, Headroom: m.Headroom, Score: m.Score,
		},
		Capacity: api.Capacity{EgressBps: l.MaxEgressBps, Sessions: l.MaxSessions}, Pending: m.Pending, TakesRooms: m.TakesRooms(), Overload: overloadView(m),
	}
	if l.Started > 0 && m.State != cluster.StateDead {
		v.UptimeS = max(0, now.Sub(time.Unix(l.Started, 0)).Seconds())
	}
	return v
}

// overloadView is nil for a node that forwards all.
func overloadView(m cluster.Member) *api.Overload {
	o := m.Load.Overload
	if !m.Load.Overloaded() || m.State == cluster.StateDead {
		return nil
	}
	return &api.Overload{
		Reason: string(o.Reason), Since: time.Unix(o.Since, 0).UTC(), Streams: o.Streams, Lowered: o.Lowered, Paused: o.Paused,
	}
}

// condition is what this node tells of its machine.
func (n *Node) condition() *inspect.ConditionReply {
	c := &inspect.ConditionReply{Now: time.Now().UnixNano()}
	c.DiskFree, c.DiskSize = disk(n.cfg.Node.Data)
	if expires, ok := n.cluster.CertificateExpires(); ok {
		c.CertificateExpires = expires.Unix()
	}
	return c
}

// roomFacts meets api.RoomFacts: where a room is at home is replicated, what is
// in it is asked of all nodes.
type roomFacts struct{ n *Node }

func (f roomFacts) Rooms(ctx context.Context, q store.RoomsQuery) api.RoomsPage {
	rooms, total, next := f.n.cluster.RoomsPage(q)
	page := api.RoomsPage{Rooms: make([]api.RoomView, len(rooms)), Total: total, Next: next}
	if len(rooms) == 0 {
		return page
	}
	names := make([]string, len(rooms))
	for i, r := range rooms {
		names[i] = r.Room.String()
	}
	live := f.n.inspector.Gather(ctx, names...)
	for i, r := range rooms {
		page.Rooms[i] = roomView(r.Room, r.Home, live[names[i]])
	}
	return page
}

func (f roomFacts) Room(ctx context.Context, id store.RoomID) (api.RoomView, bool) {
	home, ok := f.n.cluster.Lookup(id)
	if !ok {
		return api.RoomView{}, false
	}
	return roomView(id, home, f.n.inspector.Gather(ctx, id.String())[id.String()]), true
}

func roomView(id store.RoomID, home store.Home, live *inspect.Room) api.RoomView {
	v := api.RoomView{
		ID: id.String(), Backend: string(id.Backend), Home: string(home.Node), Epoch: home.Epoch, Reason: string(home.Reason), Created: home.Created,
	}
	if live == nil {
		return v
	}
	for _, e := range live.Edges {
		v.Edges = append(v.Edges, api.EdgeView{Node: string(e.Node), Sessions: e.Sessions, Publishers: e.Publishers, Subscribers: e.Subscribers})
	}
	for _, r := range live.Relays {
		v.Relays = append(v.Relays, api.RelayView{From: string(r.From), To: string(r.To), Tracks: r.Tracks, Bps: r.Bps, Lost: r.Lost})
	}
	return v
}

// joinTokens meets api.JoinTokens.
type joinTokens struct{ n *Node }

func (t joinTokens) CreateJoinToken(ctx context.Context, ttl time.Duration) (token, command string, err error) {
	if token, err = t.n.cluster.CreateJoinToken(ctx, ttl); err != nil {
		return "", "", err
	}
	return token, t.n.joinCommand(token), nil
}
