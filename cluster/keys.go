package cluster

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/cluster/internal/clusterpb"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// What nodes know each other by: certificates of the cluster's CA, and the keys
// of gossip. Both are in the replicated state, sealed under the cluster key.
//
//	store.Keys ── the cluster key (servers), or Keys, asked of a server ──► keepKeys
//	                                                         │
//	           on disk ─► rpc.Mesh: whom it trusts, what it shows │ gossip's keyring
//
// See rotation.go for how a key is replaced.

// keepKeys makes this node know what the state says, and renews its certificate
// in time.
func (c *Cluster) keepKeys(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.ready:
	}
	events, cancel := c.watchers.watch()
	defer cancel()
	for {
		next := certificateCheck
		if err := c.syncKeys(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.log.Error("keys and certificate are not those of the cluster yet", "error", err)
			next = keysRetry
		}
		if !waitKeys(ctx, events, next) {
			return nil
		}
	}
}

// waitKeys waits for news of keys; false at the end.
func waitKeys(ctx context.Context, events <-chan store.Event, longest time.Duration) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case e := <-events:
			switch e.Kind {
			case store.EventKeysChanged, store.EventRestored, store.EventLagged:
				return true
			default:
			}
		}
	}
}

// syncKeys takes what the state says, on disk and in use, and tells the leader
// with the next renewal of the lease that it has.
func (c *Cluster) syncKeys(ctx context.Context, now time.Time) error {
	id := c.identity.p.Load()
	cas, gossip := c.state.Keys(store.KeyCA), c.state.Keys(store.KeyGossip)
	if len(cas.Keys) == 0 || len(gossip.Keys) == 0 {
		return ErrNotReady
	}
	trusted, err := parseCAs(inUseFirst(cas, func(k store.Key) []byte { return k.Cert }))
	if err != nil {
		return err
	}
	sign := id.renewDue(now) || !id.signedBy(trusted[0])
	known, err := c.replica.secrets(ctx, gossip, sign, now)
	if err != nil {
		return err
	}
	want := newTrust(trusted, inUseFirst(gossip, func(k store.Key) []byte { return known.gossip[k.ID] }))
	if sign {
		// Whatever happens in between, what is on disk fits together.
		both := slices.Clone(trusted)
		for _, ca := range id.trust.Load().cas {
			if !slices.ContainsFunc(both, ca.Equal) {
				both = append(both, ca)
			}
		}
		if err := id.rely(newTrust(both, want.gossip)); err != nil {
			return err
		}
		primary, _ := cas.Key(cas.Primary)
		if err := id.renew(known.leaf, primary.Cross); err != nil {
			return err
		}
		c.log.Info("certificate renewed", "until", id.cert.Load().Leaf.NotAfter)
	}
	if err := id.rely(want); err != nil {
		return err
	}
	if err := c.gossip.setKeys(want.gossip); err != nil {
		return err
	}
	c.held.Store(&clusterpb.KeysHeld{
		Ca: cas.Newest(), CaUsed: cas.Primary, Gossip: gossip.Newest(), GossipUsed: gossip.Primary,
	})
	return nil
}

// inUseFirst gives something of each key of a ring.
func inUseFirst(ring store.KeyRing, of func(store.Key) []byte) [][]byte {
	list := make([][]byte, 0, len(ring.Keys))
	for _, k := range slices.Backward(ring.Keys) {
		if k.ID == ring.Primary {
			list = slices.Insert(list, 0, of(k))
		} else {
			list = append(list, of(k))
		}
	}
	return list
}

// secrets are what the state holds under seal.
type secrets struct {
	gossip map[uint32][]byte // by id
	leaf   []byte            // a new certificate, if one was wanted
}

// secrets opens what a server has, with the cluster key.
func (q quorum) secrets(_ context.Context, ring store.KeyRing, sign bool, now time.Time) (s secrets, err error) {
	id := q.c.identity.p.Load()
	if s.gossip, err = q.c.openGossipKeys(ring); err != nil || !sign {
		return s, err
	}
	ca, err := q.c.authority()
	if err != nil {
		return s, err
	}
	s.leaf, err = ca.issue(q.c.Self(), id.key.Public(), now)
	return s, err
}

func (c *Cluster) openGossipKeys(ring store.KeyRing) (map[uint32][]byte, error) {
	id := c.identity.p.Load()
	keys := make(map[uint32][]byte, len(ring.Keys))
	for _, k := range ring.Keys {
		plain, err := openGossipKey(k, id.clusterKey)
		if err != nil {
			return nil, err
		}
		keys[k.ID] = plain
	}
	return keys, nil
}

// secrets asks the servers in turn.
func (m *mirror) secrets(ctx context.Context, ring store.KeyRing, sign bool, _ time.Time) (secrets, error) {
	request := &clusterpb.KeysRequest{Index: m.index()}
	if sign {
		var err error
		if request.Request, err = newRequest(m.c.identity.p.Load().key); err != nil {
			return secrets{}, err
		}
	}
	last := ErrNotReady
	for _, id := range m.candidates("") {
		s, err := m.askSecrets(ctx, id, request)
		for _, k := range ring.Keys {
			if err == nil && len(s.gossip[k.ID]) != gossipKeySize {
				err = fmt.Errorf("%w: %s gave no gossip key %d", ErrIdentity, id, k.ID)
			}
		}
		if err == nil {
			return s, nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
	}
	return secrets{}, last
}

func (m *mirror) askSecrets(ctx context.Context, id store.NodeID, q *clusterpb.KeysRequest) (secrets, error) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	node, err := m.c.reach(ctx, id)
	if err != nil {
		return secrets{}, err
	}
	reply, err := node.Keys(ctx, q)
	if err != nil {
		return secrets{}, err
	}
	return secrets{gossip: reply.GetGossip(), leaf: reply.GetCertificate()}, nil
}

// Keys gives a member without the cluster key what it needs of it: the keys of
// gossip, and a certificate for the key that it came with.
func (s *server) Keys(ctx context.Context, q *clusterpb.KeysRequest) (*clusterpb.KeysReply, error) {
	id, ok := rpc.PeerID(ctx)
	key, known := rpc.PeerKey(ctx)
	if !ok || !known {
		return nil, status.Error(codes.Unauthenticated, "no node")
	}
	if s.c.feed == nil {
		return nil, status.Error(codes.FailedPrecondition, ErrNoServer.Error())
	}
	waiting, cancel := context.WithTimeout(ctx, watchCatchUp)
	err := s.c.replica.wait(waiting, q.GetIndex())
	cancel()
	if err != nil {
		return nil, status.Error(codes.Unavailable, "this server is behind")
	}
	// The record is the permission, the certificate is not.
	if record, ok := s.c.state.Node(id); !ok || record.Key != key {
		return nil, status.Error(codes.NotFound, "no such node is known here")
	}
	reply, err := s.c.serveKeys(id, key, q.GetRequest())
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return reply, nil
}

func (c *Cluster) serveKeys(node store.NodeID, key string, request []byte) (reply *clusterpb.KeysReply, err error) {
	reply = &clusterpb.KeysReply{}
	if reply.Gossip, err = c.openGossipKeys(c.state.Keys(store.KeyGossip)); err != nil || len(request) == 0 {
		return reply, err
	}
	public, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	if store.HashKey(der) != key {
		return nil, fmt.Errorf("%w: a certificate for another key", ErrIdentity)
	}
	ca, err := c.authority()
	if err != nil {
		return nil, err
	}
	reply.Certificate, err = ca.issue(node, public, time.Now())
	return reply, err
}

// authority is the CA that certificates come from, once the state has one.
func (c *Cluster) authority() (*authority, error) {
	ring := c.state.Keys(store.KeyCA)
	k, ok := ring.Key(ring.Primary)
	if !ok {
		return nil, ErrNotReady
	}
	return c.openAuthority(k)
}

// pinnedAuthority is the CA of a join token.
func (c *Cluster) pinnedAuthority(pin [32]byte) (*authority, error) {
	for _, k := range c.state.Keys(store.KeyCA).Keys {
		cert, err := x509.ParseCertificate(k.Cert)
		if err != nil {
			return nil, err
		}
		if pinOf(cert) == pin {
			return c.openAuthority(k)
		}
	}
	return nil, ErrPinMismatch
}

func (c *Cluster) openAuthority(k store.Key) (*authority, error) {
	id := c.identity.p.Load()
	replicated, ok := c.state.Cluster()
	if id == nil || !ok {
		return nil, ErrNotReady
	}
	return openAuthority(k, replicated.ID, id.clusterKey)
}

// setKeys has gossip accept these keys, and use the first. Nobody is cut off as
// long as all nodes accept what any of them uses.
func (g *gossip) setKeys(keys [][]byte) error {
	for _, k := range keys {
		if err := g.ring.AddKey(k); err != nil {
			return err
		}
	}
	if err := g.ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range g.ring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, old) }) {
			if err := g.ring.RemoveKey(old); err != nil {
				return err
			}
		}
	}
	return nil
}
