package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/talkd/talkd/cluster/guesses"
	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// serveJoin lets one node in, or says why not.
func (c *Cluster) serveJoin(ctx context.Context, conn net.Conn) {
	var request joinRequest
	reply := joinReply{}
	var err error
	_ = conn.SetReadDeadline(time.Now().Add(joinRequestWait)) // fails when it is closed, as reading will
	if err = readFrame(conn, maxJoinRequest, &request); err == nil {
		if request.Kind == kindClock {
			_ = writeFrame(conn, maxJoinReply, joinReply{Now: c.now()}) // it asks again
			return
		}
		err = c.admit(ctx, request, remoteAddr(conn), &reply)
	}
	outcome := "joined"
	if err != nil {
		reply = joinReply{Code: "refused", Detail: err.Error()}
		for _, j := range joinErrors() {
			if errors.Is(err, j.err) {
				reply = joinReply{Code: j.code}
				if errors.Is(err, ErrJoinRefused) {
					reply.Detail = err.Error()
				}
				break
			}
		}
		outcome = reply.Code
	}
	c.metrics.joins.WithLabelValues(outcome).Inc()
	log := c.log
	if _, bad := store.ParseNodeID(string(request.Node.ID)); bad == nil {
		log = log.With(keyPeer, request.Node.ID)
	}
	switch {
	case err == nil:
		log.Info("a node joins")
	case request.Version == 0: // nobody knows who it was; the log is not theirs to fill
		log.Debug("a stranger did not ask to join", "error", rpc.WithoutAddress(err))
	default:
		log.Warn("a node was not let in", "outcome", outcome, "error", rpc.WithoutAddress(err))
	}
	reply.Now = c.now()
	if err := writeFrame(conn, maxJoinReply, reply); err != nil {
		c.log.Warn("a joining node was not answered", "error", rpc.WithoutAddress(err))
	}
}

// admit checks the request, spends the token and issues the certificate, in
// this order. All of it may have happened before.
func (c *Cluster) admit(ctx context.Context, q joinRequest, from netip.Addr, reply *joinReply) error {
	if !c.config.server() {
		return ErrNoServer
	}
	if !c.isReady() {
		return ErrNotReady
	}
	if q.Version != joinVersion {
		return fmt.Errorf("%w: version %d of the join protocol, this node speaks %d", ErrJoinRefused, q.Version, joinVersion)
	}
	if q.Kind == kindReturn {
		return c.readmit(q, reply)
	}
	if c.guesses.Wait(guesses.JoinToken, "", from) > 0 {
		return ErrJoinBusy
	}
	token, err := parseToken(q.Token)
	if err != nil {
		return err
	}
	own := c.identity.p.Load()
	ca, err := c.pinnedAuthority(token.pin)
	if err != nil {
		return err
	}
	key, err := parseRequest(q.Request)
	if err != nil {
		return fmt.Errorf("%w: certificate request: %w", ErrJoinRefused, err)
	}
	if err := c.checkJoiner(q.Node); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	joiner := store.NewJoiner(q.Node.ID, der)
	known, err := c.awaitToken(ctx, store.HashToken(token.text()))
	if errors.Is(err, ErrTokenUnknown) {
		c.guesses.Wrong(guesses.JoinToken, "", from)
	}
	if err != nil {
		return err
	}
	if !c.joinLimit.Allow() {
		return ErrJoinBusy
	}
	old, taken := c.state.Node(q.Node.ID)
	ghost := taken && old.Key != joiner.Key
	if ghost && (!old.Pending || time.Since(old.Joined) < joinGhost) {
		return ErrNodeExists
	}
	if err := c.spend(ctx, known.Hash, joiner); err != nil {
		return err
	}
	if ghost {
		if err := c.Remove(ctx, old.ID); err != nil && !errors.Is(err, store.ErrNoSuchNode) {
			return fmt.Errorf("%w: %w", ErrJoinRefused, err)
		}
	}
	node := q.Node
	node.Key, node.Pending = joiner.Key, true
	switch _, err := c.Propose(ctx, store.NewPutNode(time.Now(), node)); {
	case errors.Is(err, store.ErrExists):
		return ErrNodeExists // another one was quicker
	case err != nil:
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	leaf, err := ca.issue(q.Node.ID, key, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	*reply = joinReply{Certificate: leaf, CAs: [][]byte{ca.cert.Raw}, GossipKeys: own.trust.Load().gossip}
	if q.Node.Server() {
		reply.ClusterKey = own.clusterKey // opens the CA, which is for servers
	}
	for _, n := range c.state.Nodes() {
		reply.Peers = append(reply.Peers, peerOf(n))
	}
	return nil
}

// remoteAddr is where a connection comes from.
func remoteAddr(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr()
}

// checkJoiner refuses what the cluster could not live with.
func (c *Cluster) checkJoiner(n store.Node) error {
	if err := n.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	if !peerOf(n).valid() || n.GossipAddr == "" {
		return fmt.Errorf("%w: the node's addresses are missing", ErrJoinRefused)
	}
	if all := c.state.CommandVersionOfAll(); n.Commands < all {
		return fmt.Errorf("%w: the node's binary is too old: it knows commands up to version %d, the cluster uses %d",
			ErrJoinRefused, n.Commands, all)
	}
	return nil
}

// awaitToken finds a token, which may have been made a moment ago and not have
// arrived here; one that nobody made costs the leader nothing.
func (c *Cluster) awaitToken(ctx context.Context, hash store.TokenHash) (store.JoinToken, error) {
	waiting, cancel := context.WithTimeout(ctx, joinTokenCatchUp)
	defer cancel()
	for {
		if t, ok := c.state.JoinToken(hash); ok {
			return t, nil
		}
		select {
		case <-waiting.Done():
			return store.JoinToken{}, ErrTokenUnknown
		case <-time.After(joinTokenPoll):
		}
	}
}

// spend uses the token up for the joiner.
func (c *Cluster) spend(ctx context.Context, hash store.TokenHash, by store.Joiner) error {
	_, err := c.Propose(ctx, store.NewUseJoinToken(time.Now(), hash, by))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrTokenUsed):
		return ErrTokenUsed
	case errors.Is(err, store.ErrTokenExpired):
		return ErrTokenExpired
	case errors.Is(err, store.ErrNotFound):
		return ErrTokenUnknown
	case errors.Is(err, ErrNoLeader):
		return ErrNotReady
	}
	return fmt.Errorf("%w: %w", ErrJoinRefused, err)
}
