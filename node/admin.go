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
		Cluster: clusterFacts{n}, Rooms: roomFacts{n}, Events: n.events, Tokens: joinTokens{n},
		Ready: n.takesTraffic, Gatherer: n.registry, Logger: n.log,
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

func (f clusterFacts) Cluster(context.Context) api.ClusterView {
	n := f.n
	s := n.cluster.Status()
	v := api.ClusterView{
		ClusterID: s.ClusterID, Leader: string(s.Leader), Term: s.Term, CommitIndex: s.Commit, AppliedIndex: s.Applied,
		Quorum: s.Quorum, Rooms: s.Rooms, Version: n.version,
	}
	for _, m := range n.cluster.Members() {
		v.Nodes = append(v.Nodes, nodeView(m, time.Now()))
		v.Sessions += m.Load.Sessions
	}
	return v
}

func nodeView(m cluster.Member, now time.Time) api.NodeView {
	l := m.Load
	v := api.NodeView{
		ID: string(m.ID), URL: m.PublicURL, Region: m.Region, Version: m.Version, Raft: string(m.Raft), State: string(m.State),
		Load: api.LoadView{
			CPU: l.CPU, EgressBps: l.EgressBps, IngressBps: l.IngressBps, EgressPps: l.EgressPps,
			Sessions: l.Sessions, Publishers: l.Publishers, Subscribers: l.Subscribers, Rooms: m.Rooms, Score: m.Score,
		},
		Capacity: api.Capacity{EgressBps: l.MaxEgressBps, Sessions: l.MaxSessions},
	}
	if l.Started > 0 && m.State != cluster.StateDead {
		v.UptimeS = max(0, now.Sub(time.Unix(l.Started, 0)).Seconds())
	}
	return v
}

// roomFacts meets api.RoomFacts: where a room is at home is replicated, what is
// in it is asked of all nodes.
type roomFacts struct{ n *Node }

func (f roomFacts) Rooms(ctx context.Context) []api.RoomView {
	live := f.n.inspector.Gather(ctx, "")
	homes := f.n.state.Homes()
	views := make([]api.RoomView, 0, len(homes))
	for id, home := range homes {
		views = append(views, roomView(id, home, live[id.String()]))
	}
	return views
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
		ID: id.String(), Backend: string(id.Backend), Home: string(home.Node), Epoch: home.Epoch, Created: home.Created,
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
