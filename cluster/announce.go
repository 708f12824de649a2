package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// announce tells the leader this node's record until it is in the state and
// the node is part of Raft; then Ready is closed. It does so again when this node
// seems to have been removed: somebody says so, or its lease ran out. The
// leader stops talking to a removed node, maybe before that has heard of it.
func (c *Cluster) announce(ctx context.Context) error {
	diagnosed := time.Now()
	for {
		index, err := c.announceOnce(ctx)
		if err != nil {
			return err
		}
		if index == 0 && !c.isReady() && time.Since(diagnosed) > diagnoseEvery {
			if err := c.diagnose(ctx); err != nil {
				return err
			}
			diagnosed = time.Now()
		}
		if index > 0 && c.applied(ctx, index) {
			if err := c.peers.save(c.state.Nodes()); err != nil {
				c.log.Warn("addresses not saved", "error", err)
			}
			if !c.isReady() {
				c.log.Info("node is part of the cluster", "leader", c.leader())
				close(c.ready)
				c.dropStrangers()
				c.members.tick()
			}
			select {
			case <-ctx.Done():
				return nil
			case <-c.announceNow:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(announceInterval):
		}
	}
}

// applied waits for the leader to send what it has decided, but not for ever:
// it may have changed its mind.
func (c *Cluster) applied(ctx context.Context, index uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	return c.replica.wait(ctx, index) == nil
}

// announceOnce asks whoever may be or know the leader. It gives the index at
// which the record is in the state, 0 when nobody took it.
func (c *Cluster) announceOnce(ctx context.Context) (uint64, error) {
	record, err := json.Marshal(c.record)
	if err != nil {
		return 0, err
	}
	request := &clusterpb.AnnounceRequest{Node: record, Boot: c.boot, LogStart: c.logStart}
	leader := c.leader()
	if leader == c.Self() {
		return c.announced(c.serveAnnounce(c.Self(), c.record.Key, request))
	}
	asked := make(map[store.NodeID]bool)
	ask := func(id store.NodeID) (*clusterpb.AnnounceReply, error) {
		asked[id] = true
		ctx, cancel := context.WithTimeout(ctx, announceTimeout)
		defer cancel()
		node, err := c.reach(ctx, id)
		if err != nil {
			return nil, err
		}
		return node.Announce(ctx, request)
	}
	known := c.knownPeers()
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	candidates := []store.NodeID{leader}
	for _, p := range known {
		candidates = append(candidates, p.ID)
	}
	for len(candidates) > 0 && ctx.Err() == nil {
		id := candidates[0]
		candidates = candidates[1:]
		if id == "" || id == c.Self() || asked[id] {
			continue
		}
		reply, err := ask(id)
		if err != nil {
			c.log.Debug("announcing", keyPeer, id, "error", err)
			continue
		}
		if reply.GetStatus() != clusterpb.Status_STATUS_NOT_LEADER {
			return c.announced(reply)
		}
		candidates = append([]store.NodeID{c.learnLeader(reply)}, candidates...)
	}
	// Nobody known answers: addresses may have changed. Those to join are what
	// the operator keeps right.
	for _, addr := range c.config.Join {
		if ctx.Err() != nil {
			return 0, nil
		}
		reply, err := c.announceAt(ctx, addr, request)
		if err != nil {
			c.log.Debug("announcing", "error", err)
			continue
		}
		if reply.GetStatus() == clusterpb.Status_STATUS_NOT_LEADER {
			id := c.learnLeader(reply)
			if id == "" || asked[id] {
				continue
			}
			if reply, err = ask(id); err != nil {
				continue
			}
		}
		return c.announced(reply)
	}
	return 0, c.comeBack(ctx)
}

func (c *Cluster) announceAt(ctx context.Context, addr string, q *clusterpb.AnnounceRequest) (*clusterpb.AnnounceReply, error) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	conn, err := c.mesh.DialAddr(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return clusterpb.NewClusterClient(conn).Announce(ctx, q)
}

// learnLeader notes what a node that does not lead says.
func (c *Cluster) learnLeader(reply *clusterpb.AnnounceReply) store.NodeID {
	for _, p := range reply.GetPeers() {
		c.peers.learn(peerTold(p))
	}
	id := store.NodeID(reply.GetLeaderId())
	c.peers.learn(peer{ID: id, Cluster: reply.GetLeaderAddr(), Server: true})
	return id
}

// announced is what the leader's answer means.
func (c *Cluster) announced(reply *clusterpb.AnnounceReply) (uint64, error) {
	switch reply.GetStatus() {
	case clusterpb.Status_STATUS_OK:
		c.learnLeader(reply)
		r := reading{node: store.NodeID(reply.GetLeaderId()), off: c.now().Sub(time.UnixMilli(reply.GetNow()))}
		if err := r.check(); err != nil && !c.isReady() {
			return 0, err
		}
		if r.off.Abs() > clockWarn {
			c.log.Warn("clocks differ", keyPeer, r.node, "ahead", r.off.Round(time.Millisecond))
		}
		return reply.GetIndex(), nil
	case clusterpb.Status_STATUS_REMOVED:
		c.removed.Store(true)
		return 0, ErrRemoved
	case clusterpb.Status_STATUS_ROLLED_BACK:
		return 0, fmt.Errorf("%w: %s", ErrRolledBack, reply.GetDetail())
	case clusterpb.Status_STATUS_BAD_REQUEST:
		return 0, fmt.Errorf("%w: the leader refuses this node's record: %s", ErrConfig, reply.GetDetail())
	default:
		c.log.Debug("announcing", "status", reply.GetStatus(), "detail", reply.GetDetail())
		return 0, nil
	}
}

// serveAnnounce is the leader's side. Whoever has no record was removed: a
// node that joins gets its record before its certificate. So was who has another
// key than the record: the id is in use again.
func (c *Cluster) serveAnnounce(caller store.NodeID, key string, q *clusterpb.AnnounceRequest) *clusterpb.AnnounceReply {
	reply := func(s clusterpb.Status, detail string) *clusterpb.AnnounceReply {
		leader := c.leader()
		addr := c.record.ClusterAddr
		if leader != c.Self() {
			addr, _ = c.resolve(leader)
		}
		return &clusterpb.AnnounceReply{
			Status: s, LeaderId: string(leader), LeaderAddr: addr, Detail: detail, Peers: c.toldPeers(), Index: c.replica.index(),
			Now: c.now().UnixMilli(),
		}
	}
	r := c.raft.Load()
	if r == nil || !c.leading.acts() {
		return reply(clusterpb.Status_STATUS_NOT_LEADER, "")
	}
	node, err := decodeJSON[store.Node](q.GetNode())
	if err == nil {
		err = node.Validate()
	}
	if err != nil {
		return reply(clusterpb.Status_STATUS_BAD_REQUEST, err.Error())
	}
	if node.ID != caller || !peerOf(node).valid() {
		return reply(clusterpb.Status_STATUS_BAD_REQUEST, "the record does not fit the node")
	}
	old, ok := c.state.Node(caller)
	if !ok || old.Key != key {
		return reply(clusterpb.Status_STATUS_REMOVED, "")
	}
	if node.Server() != old.Server() {
		return reply(clusterpb.Status_STATUS_BAD_REQUEST, "a node that has joined can neither take on nor lay down the role "+store.RoleServer+": join under another node.id")
	}
	lost := c.hearing.hear(caller, r.CurrentTerm(), report{at: time.Now(), boot: q.GetBoot(), start: q.GetLogStart()})
	if lost != "" {
		return reply(clusterpb.Status_STATUS_ROLLED_BACK, lost)
	}
	node.Joined, node.Key, node.Pending = old.Joined, old.Key, false
	if !reflect.DeepEqual(node, old) {
		switch result, _, err := c.commit(store.NewPutNode(time.Now(), node)); {
		case result.Err != nil:
			return reply(clusterpb.Status_STATUS_BAD_REQUEST, err.Error())
		case err != nil:
			return reply(statusOf(err), err.Error())
		}
	}
	if node.Server() && !inRaft(c.servers(), caller) {
		// Whether it votes is autopilot's affair.
		err := r.AddNonvoter(raft.ServerID(caller), raft.ServerAddress(caller), 0, raftApply).Error()
		if err != nil {
			return reply(clusterpb.Status_STATUS_UNKNOWN, err.Error())
		}
		c.log.Info("node is part of raft", keyPeer, caller)
	}
	return reply(clusterpb.Status_STATUS_OK, "")
}

// follow reacts to what was decided about nodes.
func (c *Cluster) follow(ctx context.Context) error {
	events, cancel := c.watchers.watch()
	defer cancel()
	for {
		var e store.Event
		select {
		case <-ctx.Done():
			return nil
		case e = <-events:
		}
		switch e.Kind {
		case store.EventNodePut, store.EventNodeRemoved, store.EventRestored, store.EventLagged:
		case store.EventHomeAssigned, store.EventHomeReleased, store.EventDrainChanged:
			c.members.tick() // rooms of each node, and its state
			continue
		default:
			continue
		}
		c.members.tick()
		if !c.isReady() {
			continue // these are old news, and the book may know more
		}
		if err := c.peers.save(c.state.Nodes()); err != nil {
			c.log.Warn("addresses not saved", "error", err)
		}
		switch {
		case e.Kind == store.EventNodeRemoved && e.Node != c.Self():
			c.mesh.Forget(e.Node)
		case e.Kind == store.EventRestored, e.Kind == store.EventLagged:
			c.dropStrangers()
		}
		if _, ok := c.state.Node(c.Self()); !ok {
			c.announceAgain()
		}
	}
}

// dropStrangers cuts the connections to nodes without a record: they were let in
// when nobody here knew that they had been removed.
func (c *Cluster) dropStrangers() {
	c.mesh.DropBut(func(id store.NodeID) bool {
		_, ok := c.state.Node(id)
		return ok
	})
}

// announceAgain has the leader say whether this node still belongs.
func (c *Cluster) announceAgain() {
	select {
	case c.announceNow <- struct{}{}:
	default: // it will
	}
}
