package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// Remove takes a node out of the cluster for good: it is told and stops, and
// its certificate is good for nothing any more. A node that removes itself
// leaves. Removing a node twice is harmless; its id may then be used by a new
// one. ErrRemoveRefused says that it would cost the majority.
func (c *Cluster) Remove(ctx context.Context, node store.NodeID) error {
	if _, err := store.ParseNodeID(string(node)); err != nil {
		return err
	}
	request := &clusterpb.RemoveRequest{Node: string(node)}
	reply, err := atLeader(ctx, c, idempotent,
		func(context.Context) *clusterpb.RemoveReply { return c.serveRemove(request) },
		func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.RemoveReply, error) {
			return l.Remove(ctx, request)
		})
	if node == c.Self() && (err == nil || errors.Is(err, ErrRemoved) || errors.Is(err, ErrClosed) && c.removed.Load()) {
		c.announceAgain() // it is told, and stops, if it has not yet
		return nil
	}
	if err != nil {
		return err
	}
	return c.replica.wait(ctx, reply.GetIndex())
}

// banished tells whether the door is shut to a node. It stays open to a voter,
// which is about to be demoted: its voice may be needed for that.
func (c *Cluster) banished(id store.NodeID, key string) bool {
	return c.state.Banished(id, key) && raftRole(c.servers(), id) != RaftVoter
}

// removals keep two of them from counting on each other's voters.
type removals struct{ sync.Mutex }

// serveRemove is the leader's side. Whoever votes is demoted before its record
// goes: a node that has no record stops, and a voter that stops costs a majority
// that may be needed to demote it.
func (c *Cluster) serveRemove(q *clusterpb.RemoveRequest) *clusterpb.RemoveReply {
	reply := func(s clusterpb.Status, detail string) *clusterpb.RemoveReply {
		return &clusterpb.RemoveReply{Status: s, LeaderId: string(c.leader()), Detail: detail, Index: c.replica.index()}
	}
	r := c.raft.Load()
	if r == nil || !c.leading.acts() {
		return reply(clusterpb.Status_STATUS_NOT_LEADER, "")
	}
	node := store.NodeID(q.GetNode())
	if _, err := store.ParseNodeID(string(node)); err != nil {
		return reply(clusterpb.Status_STATUS_BAD_REQUEST, err.Error())
	}
	c.removals.Lock()
	defer c.removals.Unlock()
	if _, ok := c.state.Node(node); !ok {
		if c.state.WasRemoved(node) {
			return reply(clusterpb.Status_STATUS_OK, "")
		}
		return reply(clusterpb.Status_STATUS_NO_SUCH_NODE, string(node))
	}
	votes := raftRole(c.servers(), node) == RaftVoter
	if votes {
		if why := c.removalCosts(node, time.Now()); why != "" {
			return reply(clusterpb.Status_STATUS_REFUSED, why)
		}
	}
	switch {
	case votes && node == c.Self():
		c.log.Info("this node is removed: handing leadership over")
		c.leading.pause(true) // no lease is granted after another node may lead
		err := r.LeadershipTransfer().Error()
		c.leading.pause(false)
		if err != nil {
			return reply(clusterpb.Status_STATUS_UNKNOWN, err.Error())
		}
		return reply(clusterpb.Status_STATUS_NOT_LEADER, "") // whoever leads now goes on
	case votes:
		if err := r.DemoteVoter(raft.ServerID(node), 0, raftApply).Error(); err != nil {
			return reply(clusterpb.Status_STATUS_UNKNOWN, err.Error())
		}
	}
	switch result, _, err := c.commit(store.NewRemoveNode(time.Now(), node)); {
	case err == nil, errors.Is(result.Err, store.ErrNoSuchNode):
	case result.Err != nil:
		return reply(clusterpb.Status_STATUS_REFUSED, err.Error())
	default:
		return reply(statusOf(err), err.Error())
	}
	c.hearing.forget(node)
	c.log.Info("node removed", keyPeer, node)
	return reply(clusterpb.Status_STATUS_OK, "")
}

// removalCosts tells why a voter cannot go, "" if it can: those that are left
// must have a majority of themselves.
func (c *Cluster) removalCosts(node store.NodeID, now time.Time) string {
	var living, silent []store.NodeID
	for _, s := range c.servers() {
		id := store.NodeID(s.ID)
		if _, ok := c.state.Node(id); !ok || id == node || s.Suffrage != raft.Voter {
			continue
		}
		if id == c.Self() || c.leading.silence(id, now) <= lease {
			living = append(living, id)
		} else {
			silent = append(silent, id)
		}
	}
	need := (len(living)+len(silent))/2 + 1
	switch {
	case len(living)+len(silent) == 0:
		return fmt.Sprintf("%s is the last server", node)
	case len(living) < need:
		return fmt.Sprintf("%v would be left to decide, and %d of them must be alive, but %v did not answer lately: start or remove the silent ones first",
			append(living, silent...), need, silent)
	}
	return ""
}
