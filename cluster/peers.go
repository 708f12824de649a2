package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// peer is where another node is reached.
type peer struct {
	ID      store.NodeID `json:"id"`
	Cluster string       `json:"cluster"`
	Gossip  string       `json:"gossip"`
	Server  bool         `json:"server,omitempty"`
}

func peerOf(n store.Node) peer {
	return peer{ID: n.ID, Cluster: n.ClusterAddr, Gossip: n.GossipAddr, Server: n.Server()}
}

func peerTold(p *clusterpb.Peer) peer {
	return peer{ID: store.NodeID(p.GetId()), Cluster: p.GetClusterAddr(), Gossip: p.GetGossipAddr(), Server: p.GetServer()}
}

func (p peer) valid() bool {
	_, err := store.ParseNodeID(string(p.ID))
	return err == nil && len(p.Cluster) <= store.MaxAddress && len(p.Gossip) <= store.MaxAddress &&
		checkAddr(p.Cluster) == nil && (p.Gossip == "" || checkAddr(p.Gossip) == nil)
}

const (
	filePeers = "peers.json"
	maxPeers  = 1024
)

// peerBook are addresses from before this start. Raft applies the log, where
// the records are, only when a leader says how far, and to find one the nodes
// need each other's addresses.
type peerBook struct {
	path string

	mu   sync.Mutex // guards what follows
	byID map[store.NodeID]peer
}

func openPeers(dir string) (*peerBook, error) {
	b := &peerBook{path: filepath.Join(dir, filePeers), byID: make(map[store.NodeID]peer)}
	data, err := os.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	var list []peer
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", filePeers, err)
	}
	for _, p := range list {
		b.learn(p)
	}
	return b, nil
}

// learn adds an address until the next save.
func (b *peerBook) learn(p peer) {
	if !p.valid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, ok := b.byID[p.ID]
	if ok && p.Gossip == "" {
		p.Gossip = old.Gossip
	}
	if ok || p.Server || len(b.byID) < maxPeers { // a node without servers is lost
		b.byID[p.ID] = p
	}
}

// save replaces the book by the records, which are more than hearsay.
func (b *peerBook) save(nodes []store.Node) error {
	now := make(map[store.NodeID]peer, len(nodes))
	for _, n := range nodes {
		if p := peerOf(n); p.valid() {
			now[n.ID] = p
		}
	}
	b.mu.Lock()
	same := maps.Equal(b.byID, now)
	b.byID = now
	b.mu.Unlock()
	if same {
		return nil
	}
	return b.write()
}

// write puts the book on disk.
func (b *peerBook) write() error {
	data, err := json.Marshal(b.all())
	if err != nil {
		return err
	}
	return writeFile(b.path, data)
}

func (b *peerBook) clusterAddr(id store.NodeID) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.byID[id]
	return p.Cluster, ok
}

func (b *peerBook) all() []peer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.byID))
}

// knownPeers are the other nodes, from the records or else the book.
func (c *Cluster) knownPeers() []peer {
	known := make(map[store.NodeID]peer)
	for _, p := range c.peers.all() {
		known[p.ID] = p
	}
	for _, n := range c.state.Nodes() {
		if p := peerOf(n); p.valid() {
			known[n.ID] = p
		}
	}
	delete(known, c.Self())
	return slices.Collect(maps.Values(known))
}

// toldPeers are all records as another node is told them.
func (c *Cluster) toldPeers() []*clusterpb.Peer {
	nodes := c.state.Nodes()
	told := make([]*clusterpb.Peer, 0, len(nodes))
	for _, n := range nodes {
		told = append(told, &clusterpb.Peer{Id: string(n.ID), ClusterAddr: n.ClusterAddr, GossipAddr: n.GossipAddr, Server: n.Server()})
	}
	return told
}

// tellLoad tells the others how this node does.
func (c *Cluster) tellLoad(ctx context.Context) error {
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	var told time.Time
	for {
		turned := c.load != nil && c.gossip.measured(c.load())
		if now := time.Now(); turned || now.Sub(told) >= c.gossip.every()-loadInterval/2 {
			c.gossip.tell()
			told = now
		}
		c.members.tick() // who told nothing is suspect now
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// dropDead cuts the connections to nodes that gossip found dead.
func (c *Cluster) dropDead(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-c.gossip.dead:
			c.mesh.Drop(id)
		}
	}
}

// callLost calls nodes that should be there and are not.
func (c *Cluster) callLost(ctx context.Context) error {
	tick := time.NewTicker(gossipRejoin)
	defer tick.Stop()
	for {
		c.callSome(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Cluster) callSome(ctx context.Context) {
	var lost []peer
	for _, p := range c.knownPeers() {
		if p.Gossip != "" && !c.gossip.sees(p.ID) {
			lost = append(lost, p)
		}
	}
	rand.Shuffle(len(lost), func(i, j int) { lost[i], lost[j] = lost[j], lost[i] })
	for _, p := range lost[:min(len(lost), callAtOnce)] {
		if ctx.Err() != nil {
			return
		}
		c.gossip.join([]peer{p})
	}
}
