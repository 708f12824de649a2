package cluster

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/talkd/talkd/store"
)

// What memberlist asks and tells. It holds locks of its own meanwhile: nothing
// here may block.
var (
	_ memberlist.Delegate         = (*gossip)(nil)
	_ memberlist.EventDelegate    = (*gossip)(nil)
	_ memberlist.ConflictDelegate = (*gossip)(nil)
)

// NotifyJoin notes a node that appeared. memberlist holds its lock.
func (g *gossip) NotifyJoin(n *memberlist.Node) { g.note(n, true) }

// NotifyUpdate notes a new address.
func (g *gossip) NotifyUpdate(n *memberlist.Node) { g.note(n, true) }

// NotifyLeave notes a node that died or left.
func (g *gossip) NotifyLeave(n *memberlist.Node) { g.note(n, false) }

func (g *gossip) note(n *memberlist.Node, alive bool) {
	id, err := store.ParseNodeID(n.Name)
	if err != nil || id == g.self.ID {
		return
	}
	var meta gossipMeta
	if json.Unmarshal(n.Meta, &meta) != nil || checkAddr(meta.Cluster) != nil {
		meta.Cluster = ""
	}
	g.mu.Lock()
	s := g.seen[id]
	if s == nil {
		if len(g.seen) >= maxSeen {
			g.mu.Unlock()
			return
		}
		s = new(sighting)
		g.seen[id] = s
	}
	was := s.alive
	switch {
	case alive && !was:
		g.live++
	case was && !alive:
		g.live--
	}
	s.alive, s.cluster = alive, meta.Cluster
	if alive && !was {
		s.heard = time.Now() // it gets the time to tell
	}
	g.mu.Unlock()
	if was && !alive {
		select {
		case g.dead <- id:
		default: // its connections end by keepalive
		}
	}
	if was != alive {
		g.regroup()
		g.log.Info("node in gossip", keyPeer, id, "alive", alive)
	}
	g.changed()
}

// NotifyConflict tells of two machines with one name.
func (g *gossip) NotifyConflict(existing, _ *memberlist.Node) {
	g.log.Warn("two nodes gossip under one id, or one has just moved", keyPeer, existing.Name)
}

// NodeMeta is this node's address for RPC.
func (g *gossip) NodeMeta(limit int) []byte {
	if len(g.meta) > limit {
		return nil
	}
	return g.meta
}

// NotifyMsg takes news and passes them on if they are. It must not block.
func (g *gossip) NotifyMsg(data []byte) {
	var n news
	if len(data) > maxNews || json.Unmarshal(data, &n) != nil {
		return
	}
	if g.hear(n) {
		g.pass(n)
		g.changed()
	}
}

// GetBroadcasts gives what fits the next packet.
func (g *gossip) GetBroadcasts(overhead, limit int) [][]byte {
	return g.queue.GetBroadcasts(overhead, limit)
}

// LocalState is all news, for a node that has just come.
func (g *gossip) LocalState(bool) []byte {
	g.mu.Lock()
	all := []news{g.own}
	for _, s := range g.seen {
		if s.alive && s.news.Node != "" {
			all = append(all, s.news)
		}
	}
	g.mu.Unlock()
	data, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return data
}

// MergeRemoteState takes another node's news.
func (g *gossip) MergeRemoteState(data []byte, _ bool) {
	var all []news
	if len(data) > maxNewsList || json.Unmarshal(data, &all) != nil || len(all) > maxSeen {
		return
	}
	for _, n := range all {
		g.hear(n)
	}
	g.changed()
}

// newsBroadcast is the news of one node on the queue.
type newsBroadcast struct {
	node store.NodeID
	data []byte
}

var _ memberlist.NamedBroadcast = (*newsBroadcast)(nil)

func (b *newsBroadcast) Invalidates(other memberlist.Broadcast) bool {
	o, ok := other.(*newsBroadcast)
	return ok && o.node == b.node
}
func (b *newsBroadcast) Name() string    { return string(b.node) }
func (b *newsBroadcast) Message() []byte { return b.data }
func (b *newsBroadcast) Finished()       {}
