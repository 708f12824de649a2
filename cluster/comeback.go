package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// A node that was away while the CA was replaced has a certificate that the
// others do not take any more. It comes back by the port where nodes join:
//
//	node                                      any server that is ready
//	  verifies: the old CA vouches for the new  ←  certificate, CA, what the CA before said of it
//	  record, certificate request             →  is it the key of the record?
//	  saves                                   ←  certificate, CAs, gossip keys

// errSameCA is for a node that is not away.
var errSameCA = errors.New("the CA is that of before")

// comeBack asks one of the servers whether the CA was replaced, for a node
// whose record nobody takes. An error stops the node.
func (c *Cluster) comeBack(ctx context.Context) error {
	addrs := slices.Clone(c.config.Join)
	for _, p := range c.knownPeers() {
		if p.Server {
			addrs = append(addrs, p.Cluster)
		}
	}
	if len(addrs) == 0 || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	err := c.comeBackAt(ctx, addrs[rand.IntN(len(addrs))])
	switch {
	case err == nil:
		c.log.Info("the cluster's CA was replaced while this node was away: it is back", "until", c.identity.p.Load().cert.Load().Leaf.NotAfter)
	case errors.Is(err, ErrRemoved):
		return err
	case errors.Is(err, rpc.ErrBadPeer) && time.Since(c.strangers) > strangersTold:
		c.strangers = time.Now()
		c.log.Warn("a node of another CA answers at an address of this cluster. If the CA was replaced more than once while this node was away, "+
			"it cannot come back: remove its data directory, and join under another node.id with a new token", "error", rpc.WithoutAddress(err))
	default:
		c.log.Debug("coming back", "error", rpc.WithoutAddress(err))
	}
	return nil
}

func (c *Cluster) comeBackAt(ctx context.Context, addr string) error {
	id := c.identity.p.Load()
	request, err := newRequest(id.key)
	if err != nil {
		return err
	}
	verify := func(s tls.ConnectionState) error {
		t := id.trust.Load()
		if _, err := rpc.VerifyChain(t.roots, s.PeerCertificates, x509.ExtKeyUsageServerAuth); err != nil {
			return err
		}
		if leaf := s.PeerCertificates[0]; id.signedBy(t.ca()) && leaf.CheckSignatureFrom(t.ca()) == nil {
			return errSameCA
		}
		return nil
	}
	reply, err := c.askToJoin(ctx, addr, verify, joinRequest{Version: joinVersion, Kind: kindReturn, Node: c.record, Request: request})
	if err != nil {
		return err
	}
	if err := checkGossipKeys(reply.GossipKeys); err != nil {
		return err
	}
	cas, err := parseCAs(reply.CAs)
	if err != nil {
		return err
	}
	if err := id.rely(newTrust(append(cas, id.trust.Load().cas...), reply.GossipKeys)); err != nil {
		return err
	}
	if err := id.renew(reply.Certificate, reply.Cross); err != nil {
		return err
	}
	return c.gossip.setKeys(reply.GossipKeys)
}

// readmit gives a member that was away a certificate of the CA of today.
func (c *Cluster) readmit(q joinRequest, reply *joinReply) error {
	key, err := parseRequest(q.Request)
	if err != nil {
		return fmt.Errorf("%w: certificate request: %w", ErrJoinRefused, err)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	// The key is the proof: the request is signed with it.
	record, ok := c.state.Node(q.Node.ID)
	if !ok || record.Key != store.HashKey(der) {
		return ErrRemoved
	}
	if !c.joinLimit.Allow() {
		return ErrJoinBusy
	}
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if reply.Certificate, err = ca.issue(q.Node.ID, key, time.Now()); err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	ring := c.state.Keys(store.KeyCA)
	primary, _ := ring.Key(ring.Primary)
	reply.CAs, reply.Cross = inUseFirst(ring, func(k store.Key) []byte { return k.Cert }), primary.Cross
	reply.GossipKeys = c.identity.p.Load().trust.Load().gossip
	return nil
}
