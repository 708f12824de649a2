package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// How a node joins, over TLS 1.3 with the protocol talkd-join:
//
//	joiner                                    any server that is ready
//	  saves its key
//	  checks the CA against the token's pin ←  certificate, CA
//	  token, record, certificate request    →  spends the token (Raft),
//	                                           writes the record (Raft), issues
//	  saves                                 ←  certificate, cluster key (servers),
//	                                           gossip keys, addresses
//
// A frame is 4 bytes of length (big endian) and JSON.
//
// When the answer is lost the joiner asks again, also after a restart: the same
// token, node and key are answered again while the token lives.

const (
	joinVersion    = 1
	maxJoinRequest = 16 << 10
	maxJoinReply   = 1 << 20
	// Attempts with a token of the cluster beyond this rate are turned away. Its
	// secret has 128 bits: the limit is for the work, not against guessing.
	joinsPerSecond = 10
	joinsBurst     = 20
)

// What is asked for on the protocol of joining.
const (
	kindJoin   = ""
	kindReturn = "return" // no token, but the key of a record (comeback.go)
	kindClock  = "clock"  // nothing but the time (doctor.go)
)

type joinRequest struct {
	Version int        `json:"version"`
	Kind    string     `json:"kind,omitempty"`
	Token   string     `json:"token"`
	Node    store.Node `json:"node"`
	Request []byte     `json:"request"` // PKCS #10
}

type joinReply struct {
	Now         time.Time `json:"now"`
	Code        string    `json:"code,omitempty"` // "" for success
	Detail      string    `json:"detail,omitempty"`
	Certificate []byte    `json:"certificate,omitempty"`
	CAs         [][]byte  `json:"cas,omitempty"`   // the one in use first
	Cross       []byte    `json:"cross,omitempty"` // of that one, from the CA before
	ClusterKey  []byte    `json:"cluster_key,omitempty"`
	GossipKeys  [][]byte  `json:"gossip_keys,omitempty"`
	Peers       []peer    `json:"peers,omitempty"`
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
		{ErrRemoved, "removed", true},
		{ErrClock, "clock", true},
		{ErrNoServer, "no_server", false},
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
		if err := c.checkCertificate(ctx); err != nil {
			return false, err
		}
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
	c.record.Key = id.keyHash()
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
	key, err := joinKey(c.config.DataDir)
	if err != nil {
		return nil, err
	}
	for {
		strangers := 0
		for _, addr := range c.config.Join {
			id, err := c.joinAt(ctx, addr, token, key)
			if err == nil {
				return id, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if errors.Is(err, ErrPinMismatch) || errors.Is(err, ErrNoServer) {
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

func (c *Cluster) joinAt(ctx context.Context, addr string, token joinToken, key *ecdsa.PrivateKey) (*identity, error) {
	request, err := newRequest(key)
	if err != nil {
		return nil, err
	}
	// The token names the CA, which is all the trust there is yet.
	var ca, peer *x509.Certificate
	verify := func(s tls.ConnectionState) (err error) {
		if ca, err = checkPinned(s.PeerCertificates, token.pin); err == nil {
			peer = s.PeerCertificates[0]
		}
		if err == nil && s.NegotiatedProtocol != rpc.ProtoJoin {
			err = fmt.Errorf("%w: it lets no nodes join", ErrJoinRefused)
		}
		return err
	}
	reply, err := c.askToJoin(ctx, addr, verify, joinRequest{Version: joinVersion, Kind: kindJoin, Token: token.text(), Node: c.record, Request: request})
	if err != nil {
		return nil, c.clockOr(ctx, addr, token, err)
	}
	if err := c.checkClock(peer, reply.Now); err != nil {
		return nil, err
	}
	return c.accept(key, ca, reply)
}

// askToJoin asks for one thing at an address; verify says whether whoever is
// there may be asked.
func (c *Cluster) askToJoin(ctx context.Context, addr string, verify func(tls.ConnectionState) error, request joinRequest) (joinReply, error) {
	var reply joinReply
	ctx, cancel := context.WithTimeout(ctx, joinDial+joinExchange)
	defer cancel()
	dialing, cancelDial := context.WithTimeout(ctx, joinDial)
	raw, err := c.network.DialContext(dialing, "tcp", addr)
	cancelDial()
	if err != nil {
		return reply, err
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // ends reads that wait
	defer stop()
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{rpc.ProtoJoin},
		// verify does what the standard verification would.
		InsecureSkipVerify: true,
		VerifyConnection:   verify,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return reply, err
	}
	if err := writeFrame(conn, maxJoinRequest, request); err != nil {
		return reply, err
	}
	if err := readFrame(conn, maxJoinReply, &reply); err != nil {
		return reply, fmt.Errorf("joining: %w", err)
	}
	if reply.Code != "" {
		return reply, refusalOf(reply)
	}
	return reply, nil
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
	server := c.config.server()
	if server != (len(reply.ClusterKey) == clusterKeySize) {
		return nil, fmt.Errorf("%w: keys are missing in the answer", ErrJoinRefused)
	}
	if err := checkGossipKeys(reply.GossipKeys); err != nil {
		return nil, err
	}
	id := &identity{dir: c.config.DataDir, node: c.Self(), key: key, clusterKey: reply.ClusterKey}
	// The pinned CA, whatever the answer says.
	if err := id.adopt(newTrust([]*x509.Certificate{ca}, reply.GossipKeys), reply.Certificate, nil); err != nil {
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

func checkGossipKeys(keys [][]byte) error {
	for _, k := range keys {
		if len(k) != gossipKeySize {
			return fmt.Errorf("%w: gossip key of %d bytes", ErrJoinRefused, len(k))
		}
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: keys are missing in the answer", ErrJoinRefused)
	}
	return nil
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
