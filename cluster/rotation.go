package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/store"
)

// How a key is replaced while all nodes use it:
//
//	put_key    all nodes accept the new one too       ─┐ when all living nodes
//	use_key    all use it: encrypt with it, show a     │ say that they do
//	           certificate of it                      ─┘
//	drop_key   nobody accepts the old one any more
//
// The leader takes each step when every living node has told it, with the
// renewal of its lease, that it has taken the one before. Which step is next
// follows from the state, so the next leader goes on; and nobody who is away is
// waited for:
//
//   - A node that was away has the old gossip key, and no gossip. It needs none:
//     it announces itself by RPC, and takes the new key from the log or a server.
//   - A node that was away has a certificate of the old CA. It trusts the others
//     all the same, since the old CA has vouched for the new one, but they do not
//     trust it: it comes back by the port where nodes join, and proves by its key
//     that it is the node of its record (comeback.go). That works until its
//     certificate expires, and over one rotation: who was away for two is told to
//     join again.
//
// A join token names the CA of its day: tokens that are outstanding when the
// nodes have changed over are refused, and say so.

// RotateGossip replaces the key of gossip. It returns when every living node
// uses the new one only, or with an error that names those that do not; the
// rotation goes on all the same, and calling again waits for that one.
func (c *Cluster) RotateGossip(ctx context.Context) error { return c.rotate(ctx, store.KeyGossip) }

// RotateCA replaces the CA of the cluster, as RotateGossip does with its key.
// Connections that are open stay.
func (c *Cluster) RotateCA(ctx context.Context) error { return c.rotate(ctx, store.KeyCA) }

func (c *Cluster) rotate(ctx context.Context, kind store.KeyKind) error {
	request := &clusterpb.RotateRequest{Kind: string(kind)}
	var waiting []string
	for {
		reply, err := atLeader(ctx, c, idempotent,
			func(context.Context) *clusterpb.RotateReply { return c.serveRotate(request) },
			func(ctx context.Context, l clusterpb.ClusterClient) (*clusterpb.RotateReply, error) {
				return l.Rotate(ctx, request)
			})
		switch {
		case err != nil && len(waiting) > 0:
			return fmt.Errorf("%w: %w", stillWaiting(kind, waiting), err)
		case err != nil:
			return err
		case reply.GetDone():
			return c.replica.wait(ctx, reply.GetIndex())
		}
		request.Id, waiting = reply.GetId(), reply.GetWaiting()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", stillWaiting(kind, waiting), ctx.Err())
		case <-c.stopped:
			return ErrClosed
		case <-time.After(rotatePoll):
		}
	}
}

func stillWaiting(kind store.KeyKind, nodes []string) error {
	if len(nodes) == 0 {
		return fmt.Errorf("%w: %s", ErrRotating, kind)
	}
	return fmt.Errorf("%w: %s: waiting for %s", ErrRotating, kind, strings.Join(nodes, ", "))
}

// Rotate begins to replace a key, or tells how far that is.
func (s *server) Rotate(ctx context.Context, q *clusterpb.RotateRequest) (*clusterpb.RotateReply, error) {
	if _, err := s.member(ctx); err != nil {
		return nil, err
	}
	return s.c.serveRotate(q), nil
}

// serveRotate is the leader's side.
func (c *Cluster) serveRotate(q *clusterpb.RotateRequest) *clusterpb.RotateReply {
	if !c.leading.acts() {
		return &clusterpb.RotateReply{Status: clusterpb.Status_STATUS_NOT_LEADER}
	}
	kind := store.KeyKind(q.GetKind())
	ring := c.state.Keys(kind)
	if len(ring.Keys) == 0 {
		return &clusterpb.RotateReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: "no such key"}
	}
	if q.GetId() == 0 && len(ring.Keys) == 1 {
		k, err := c.newKey(kind, ring, time.Now())
		if err != nil {
			return &clusterpb.RotateReply{Status: clusterpb.Status_STATUS_BAD_REQUEST, Detail: err.Error()}
		}
		if _, _, err := c.commit(store.NewPutKey(time.Now(), kind, k)); err != nil && !errors.Is(err, store.ErrExists) {
			return &clusterpb.RotateReply{Status: statusOf(err), Detail: err.Error()}
		}
		c.log.Info("a key is being replaced", "key", kind, "index", k.ID, "phase", store.KeyAdded)
		ring = c.state.Keys(kind)
	}
	reply := &clusterpb.RotateReply{Status: clusterpb.Status_STATUS_OK, Id: ring.Newest(), Index: c.replica.index()}
	if reply.Done = len(ring.Keys) == 1; !reply.Done {
		reply.Waiting = c.behindOn(kind, ring, time.Now())
	}
	return reply
}

// newKey makes the next key of a ring.
func (c *Cluster) newKey(kind store.KeyKind, ring store.KeyRing, now time.Time) (k store.Key, err error) {
	id := c.identity.p.Load()
	k.ID = ring.Newest() + 1
	if kind == store.KeyGossip {
		k.Sealed, err = sealGossipKey(id.clusterKey, k.ID, randomBytes(gossipKeySize))
		return k, err
	}
	replicated, _ := c.state.Cluster()
	old, err := c.authority()
	if err != nil {
		return k, err
	}
	next, err := newAuthority(replicated.ID, now)
	if err != nil {
		return k, err
	}
	k.Cert = next.cert.Raw
	if k.Cross, err = old.vouch(next, now); err != nil {
		return k, err
	}
	k.Sealed, err = next.seal(id.clusterKey, replicated.ID)
	return k, err
}

// advanceKeys takes the next step of each rotation that is under way, if all
// living nodes have taken the last one.
func (c *Cluster) advanceKeys(now time.Time) {
	for _, kind := range store.KeyKinds() {
		ring := c.state.Keys(kind)
		if len(ring.Keys) < 2 || len(c.behindOn(kind, ring, now)) > 0 {
			continue
		}
		cmd, step := store.NewUseKey(now, kind, ring.Newest()), store.KeyUsed
		if ring.Primary == ring.Newest() {
			cmd, step = store.NewDropKey(now, kind, ring.Keys[0].ID), store.KeyDropped
		}
		if _, _, err := c.commit(cmd); err != nil {
			c.log.Warn("a rotation does not go on yet", "key", kind, "error", err)
			continue
		}
		c.log.Info("all nodes have taken a step in replacing a key", "key", kind, "index", ring.Newest(), "phase", step)
	}
}

// behindOn are the living nodes that have not taken the last step of a rotation.
func (c *Cluster) behindOn(kind store.KeyKind, ring store.KeyRing, now time.Time) []string {
	var behind []string
	for _, n := range c.state.Nodes() {
		told, _ := c.hearing.report(n.ID)
		held, silent := told.held, c.hearing.silence(n.ID, now) > placementAnewAlive
		if n.ID == c.Self() {
			held, silent = c.held.Load(), false
		}
		// Who renews its lease is alive, whatever gossip says; who has joined and
		// has not come yet is not.
		if state, _ := c.gossip.state(n.ID, now); silent && (state == StateDead || n.Pending) {
			continue
		}
		has, uses := held.GetCa(), held.GetCaUsed()
		if kind == store.KeyGossip {
			has, uses = held.GetGossip(), held.GetGossipUsed()
		}
		if silent || has < ring.Newest() || uses != ring.Primary {
			behind = append(behind, string(n.ID))
		}
	}
	return behind
}
