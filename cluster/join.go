package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// How a node joins, over TLS 1.3 with the protocol talkd-join:
//
//	joiner                                    any node that is ready
//	  checks the CA against the token's pin ←  certificate, CA
//	  token, record, certificate request    →  spends the token (Raft),
//	                                           writes the record (Raft), issues
//	  saves                                 ←  certificate, cluster key,
//	                                           gossip keys, addresses
//
// A frame is 4 bytes of length (big endian) and JSON.

const (
	joinVersion    = 1
	maxJoinRequest = 16 << 10
	maxJoinReply   = 1 << 20
	// Attempts beyond this rate are turned away. A token's secret has 128 bits:
	// the limit is for the work, not against guessing.
	joinsPerSecond = 10
	joinsBurst     = 20
	joinTokenPoll  = 50 * time.Millisecond
)

type joinRequest struct {
	Version int        `json:"version"`
	Token   string     `json:"token"`
	Node    store.Node `json:"node"`
	Request []byte     `json:"request"` // PKCS #10
}

type joinReply struct {
	Code        string   `json:"code,omitempty"` // "" for success
	Detail      string   `json:"detail,omitempty"`
	Certificate []byte   `json:"certificate,omitempty"`
	CA          []byte   `json:"ca,omitempty"`
	ClusterKey  []byte   `json:"cluster_key,omitempty"`
	GossipKeys  [][]byte `json:"gossip_keys,omitempty"`
	Peers       []peer   `json:"peers,omitempty"`
}

// joinError is a refusal as it travels. final ones do not pass with time.
type joinError struct {
	err   error
	code  string
	final bool
}

// joinErrors are all refusals; a code that is not among them is a newer
// node's.
func joinErrors() []joinError {
	return []joinError{
		{ErrBadToken, "bad_token", true},
		{ErrTokenUnknown, "token_unknown", true},
		{ErrTokenUsed, "token_used", true},
		{ErrTokenExpired, "token_expired", true},
		{ErrNodeExists, "node_exists", true},
		{ErrPinMismatch, "pin_mismatch", true},
		{ErrJoinRefused, "refused", true},
		{ErrJoinBusy, "busy", false},
		{ErrNotReady, "not_ready", false},
	}
}

// prepareIdentity loads, makes or is given the node's identity. fresh says that
// Raft may begin with this node alone.
func (c *Cluster) prepareIdentity(ctx context.Context) (fresh bool, err error) {
	id := c.identity.p.Load()
	var b *bootstrap
	switch {
	case id != nil:
		b, err = loadBootstrap(c.config.DataDir)
	case len(c.config.Join) > 0:
		id, err = c.join(ctx)
	default:
		c.log.Info("making a new cluster")
		id, b, err = newIdentity(c.config.DataDir, c.Self(), time.Now())
	}
	if err != nil {
		return false, err
	}
	c.identity.p.Store(id)
	c.bootstraps.Store(b)
	return b != nil, nil
}

// join asks the addresses in turn until one lets this node in, or says why
// none ever will.
func (c *Cluster) join(ctx context.Context) (*identity, error) {
	token, err := parseToken(c.config.JoinToken)
	if err != nil {
		return nil, err
	}
	for {
		strangers := 0
		for _, addr := range c.config.Join {
			id, err := c.joinAt(ctx, addr, token)
			if err == nil {
				return id, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if errors.Is(err, ErrPinMismatch) {
				strangers++
			} else if finalRefusal(err) {
				return nil, err
			}
			c.log.Warn("joining", "error", err)
			if strangers == len(c.config.Join) {
				return nil, err
			}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(joinRetry):
		}
	}
}

func finalRefusal(err error) bool {
	for _, j := range joinErrors() {
		if errors.Is(err, j.err) {
			return j.final
		}
	}
	return false
}

func (c *Cluster) joinAt(ctx context.Context, addr string, token joinToken) (*identity, error) {
	ctx, cancel := context.WithTimeout(ctx, joinDial+joinExchange)
	defer cancel()
	raw, err := c.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // ends reads that wait
	defer stop()

	var ca *x509.Certificate
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{rpc.ProtoJoin},
		// The token names the CA, which is all the trust there is yet.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) (err error) {
			if ca, err = checkPinned(s.PeerCertificates, token.pin); err == nil && s.NegotiatedProtocol != rpc.ProtoJoin {
				err = fmt.Errorf("%w: it lets no nodes join", ErrJoinRefused)
			}
			return err
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := newRequest(key)
	if err != nil {
		return nil, err
	}
	if err := writeFrame(conn, maxJoinRequest, joinRequest{
		Version: joinVersion, Token: token.text(), Node: c.record, Request: request,
	}); err != nil {
		return nil, err
	}
	var reply joinReply
	if err := readFrame(conn, maxJoinReply, &reply); err != nil {
		return nil, fmt.Errorf("joining: %w", err)
	}
	if reply.Code != "" {
		return nil, refusalOf(reply)
	}
	return c.accept(key, ca, reply)
}

// refusalOf is the error that a code stands for.
func refusalOf(reply joinReply) error {
	for _, j := range joinErrors() {
		if j.code == reply.Code {
			if reply.Detail == "" {
				return j.err
			}
			return fmt.Errorf("%w: %.200s", j.err, reply.Detail)
		}
	}
	return fmt.Errorf("%w (%.32q)", ErrJoinRefused, reply.Code)
}

// accept saves what the cluster gave.
func (c *Cluster) accept(key *ecdsa.PrivateKey, ca *x509.Certificate, reply joinReply) (*identity, error) {
	if len(reply.ClusterKey) != clusterKeySize || len(reply.GossipKeys) == 0 {
		return nil, fmt.Errorf("%w: keys are missing in the answer", ErrJoinRefused)
	}
	for _, k := range reply.GossipKeys {
		if len(k) != gossipKeySize {
			return nil, fmt.Errorf("%w: gossip key of %d bytes", ErrJoinRefused, len(k))
		}
	}
	id := &identity{
		dir: c.config.DataDir, node: c.Self(), key: key, clusterKey: reply.ClusterKey, gossipKeys: reply.GossipKeys,
	}
	if err := id.adopt(reply.Certificate, ca.Raw); err != nil { // the pinned CA, whatever the answer says
		return nil, err
	}
	for _, p := range reply.Peers {
		c.peers.learn(p)
	}
	if err := c.peers.write(); err != nil {
		return nil, err
	}
	return id, id.save()
}

// serveJoin lets one node in, or says why not.
func (c *Cluster) serveJoin(ctx context.Context, conn net.Conn) {
	var request joinRequest
	reply := joinReply{}
	err := ErrJoinBusy
	if c.joinLimit.Allow() {
		if err = readFrame(conn, maxJoinRequest, &request); err == nil {
			err = c.admit(ctx, request, &reply)
		}
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
	c.log.Info("a node asked to join", "outcome", outcome, "error", err)
	if err := writeFrame(conn, maxJoinReply, reply); err != nil {
		c.log.Warn("a joining node was not answered", "error", err)
	}
}

// admit checks the request, spends the token and issues the certificate, in
// this order.
func (c *Cluster) admit(ctx context.Context, q joinRequest, reply *joinReply) error {
	if !c.isReady() {
		return ErrNotReady
	}
	if q.Version != joinVersion {
		return fmt.Errorf("%w: version %d of the join protocol, this node speaks %d", ErrJoinRefused, q.Version, joinVersion)
	}
	token, err := parseToken(q.Token)
	if err != nil {
		return err
	}
	own := c.identity.p.Load()
	if token.pin != pinOf(own.ca) {
		return ErrPinMismatch
	}
	key, err := parseRequest(q.Request)
	if err != nil {
		return fmt.Errorf("%w: certificate request: %w", ErrJoinRefused, err)
	}
	if err := c.checkJoiner(q.Node); err != nil {
		return err
	}
	ca, err := c.authority()
	if err != nil {
		return err
	}
	if err := c.spend(ctx, store.HashToken(token.text())); err != nil {
		return err
	}
	if _, err := c.Propose(ctx, store.NewPutNode(time.Now(), q.Node)); err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	leaf, err := ca.issue(q.Node.ID, key, time.Now())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	c.log.Info("node admitted", keyNode, q.Node.ID)
	*reply = joinReply{Certificate: leaf, CA: own.ca.Raw, ClusterKey: own.clusterKey, GossipKeys: own.gossipKeys}
	for _, n := range c.state.Nodes() {
		reply.Peers = append(reply.Peers, peer{ID: n.ID, Cluster: n.ClusterAddr, Gossip: n.GossipAddr})
	}
	return nil
}

// checkJoiner refuses what the cluster could not live with.
func (c *Cluster) checkJoiner(n store.Node) error {
	if err := n.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrJoinRefused, err)
	}
	if !(peer{ID: n.ID, Cluster: n.ClusterAddr, Gossip: n.GossipAddr}).valid() || n.GossipAddr == "" {
		return fmt.Errorf("%w: the node's addresses are missing", ErrJoinRefused)
	}
	if !n.Server() {
		return fmt.Errorf("%w: a node without the role %s is not supported yet", ErrJoinRefused, store.RoleServer)
	}
	if all := c.state.CommandVersionOfAll(); n.Commands < all {
		return fmt.Errorf("%w: the node's binary is too old: it knows commands up to version %d, the cluster uses %d",
			ErrJoinRefused, n.Commands, all)
	}
	if _, ok := c.state.Node(n.ID); ok {
		return ErrNodeExists
	}
	return nil
}

// spend uses the token up. A token that was made a moment ago may not have
// arrived here; one that nobody made costs the leader nothing.
func (c *Cluster) spend(ctx context.Context, hash store.TokenHash) error {
	waiting, cancel := context.WithTimeout(ctx, joinTokenCatchUp)
	defer cancel()
	for {
		if _, ok := c.state.JoinToken(hash); ok {
			break
		}
		select {
		case <-waiting.Done():
			return ErrTokenUnknown
		case <-time.After(joinTokenPoll):
		}
	}
	_, err := c.Propose(ctx, store.NewUseJoinToken(time.Now(), hash))
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

// writeFrame writes a message with its length.
func writeFrame(w io.Writer, limit int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(data) > limit {
		return fmt.Errorf("frame of %d bytes, allowed are %d", len(data), limit)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...))
	return err
}

// readFrame reads what writeFrame wrote, and holds no more than limit.
func readFrame(r io.Reader, limit uint32, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > limit {
		return fmt.Errorf("frame of %d bytes, allowed are %d", n, limit)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
