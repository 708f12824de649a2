package node

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/talkd/talkd/api"
	"github.com/talkd/talkd/cluster"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/node/forward"
	"github.com/talkd/talkd/store"
)

// What a node does follows from its roles, here and in the cluster, which keeps
// the log on servers only. Parts that a role does not need are there all the
// same and have nothing to do: a server holds no sockets because it serves no
// signaling, and is no home because placement looks for both roles.

// has tells whether this node has a role.
func (n *Node) has(role string) bool { return store.Node{Roles: n.cfg.Node.Roles}.Has(role) }

// openForwarding is for nodes that have no database to answer from.
func (n *Node) openForwarding() {
	n.forward = forward.New(forward.Config{
		Servers: n.serversToAsk, Dial: n.cluster.RPC().DialHTTP, Index: n.cluster.Applied, MaxBody: api.MaxBody, Logger: n.log,
	})
}

// serversToAsk are the living servers, those of this region first, and those
// that are leaving last.
func (n *Node) serversToAsk() []store.NodeID {
	members := slices.DeleteFunc(n.cluster.Members(), func(m cluster.Member) bool {
		return !m.Server() || m.State == cluster.StateDead
	})
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	rank := func(m cluster.Member) int {
		switch {
		case m.State != cluster.StateAlive:
			return 2
		case m.Region != n.cfg.Node.Region:
			return 1
		}
		return 0
	}
	slices.SortStableFunc(members, func(a, b cluster.Member) int { return rank(a) - rank(b) })
	ids := make([]store.NodeID, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return ids
}

// joinAddr is where a node joins: only servers let one in.
func (n *Node) joinAddr() string {
	if !n.has(store.RoleServer) {
		for _, id := range n.serversToAsk() {
			if server, ok := n.cluster.Node(id); ok {
				return server.ClusterAddr
			}
		}
	}
	return n.cfg.Cluster.Advertise
}

// openAnswers serves what nodes without the database pass on.
func (n *Node) openAnswers() {
	l := n.cluster.RPC().HTTPListener()
	server := newServer(n.answers(), n.log)
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if conn, ok := c.(*rpc.Conn); ok {
			ctx = forward.WithCaller(ctx, conn.Peer)
		}
		return ctx
	}
	n.passed = &httpServer{listener: l, server: server}
}

// servedAt is the URL of the node that holds the sockets of whoever sent a
// request: the one that it came to, or another if that holds none.
func (n *Node) servedAt(ctx context.Context) string {
	if id, ok := forward.Caller(ctx); ok {
		if caller, ok := n.cluster.Node(id); ok && caller.Has(store.RoleSignaling) && caller.PublicURL != "" {
			return caller.PublicURL
		}
	}
	if !n.has(store.RoleSignaling) {
		if url, ok := n.anotherDoor(); ok {
			return url
		}
	}
	return n.cfg.HTTP.PublicURL
}

// anotherDoor is the URL of some node that takes clients.
func (n *Node) anotherDoor() (url string, ok bool) {
	doors := slices.DeleteFunc(n.cluster.Members(), func(m cluster.Member) bool {
		return m.State != cluster.StateAlive || !m.Has(store.RoleSignaling) || m.PublicURL == "" || m.Load.Full()
	})
	if len(doors) == 0 {
		return "", false
	}
	return doors[rand.IntN(len(doors))].PublicURL, true
}

// sendAway answers what a node without the role signaling does not serve.
func sendAway(door func() (url string, ok bool)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url, ok := door()
		text := "this node serves no clients: it has not the role " + store.RoleSignaling
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case !ok:
			http.Error(w, text+", and no node that has it can be seen", http.StatusNotFound)
		case (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Upgrade") == "":
			http.Redirect(w, r, strings.TrimRight(url, "/")+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		default: // browsers do not follow with a WebSocket
			http.Error(w, text+"; go to "+url, http.StatusNotFound)
		}
	})
}

func healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // whoever asked is gone
}
