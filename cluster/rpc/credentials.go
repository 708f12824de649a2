package rpc

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/talkd/talkd/store"
)

// authInfo is what gRPC hands to handlers about the connection.
type authInfo struct {
	credentials.CommonAuthInfo
	id  store.NodeID
	key string // as in store.Node.Key
}

func (authInfo) AuthType() string { return ProtoRPC }

func newAuthInfo(id store.NodeID, key string) authInfo {
	return authInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, id: id, key: key}
}

// PeerID is the node that calls, from its verified certificate.
func PeerID(ctx context.Context) (store.NodeID, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(authInfo)
	return info.id, ok && info.id != ""
}

// PeerKey is the key of the node that calls, as its record has it.
func PeerKey(ctx context.Context) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(authInfo)
	return info.key, ok && info.key != ""
}

// clientCredentials does the TLS handshake of an outgoing gRPC connection.
type clientCredentials struct {
	identity Identity
	node     store.NodeID // empty: any node of the cluster
	door     door
}

func (c *clientCredentials) ClientHandshake(ctx context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := clientTLS(c.identity, c.door, c.node, ProtoRPC)
	if err != nil {
		return nil, nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, nil, err
	}
	cert := conn.ConnectionState().PeerCertificates[0]
	id, err := CertificateNode(cert)
	if err != nil {
		return nil, nil, err
	}
	return conn, newAuthInfo(id, CertificateKey(cert)), nil
}

func (c *clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, ErrBadPeer
}

func (c *clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c *clientCredentials) Clone() credentials.TransportCredentials {
	clone := *c
	return &clone
}

func (c *clientCredentials) OverrideServerName(string) error { return nil }

// serverCredentials passes on what the mux verified.
type serverCredentials struct{}

func (serverCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, ErrBadPeer
}

func (serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, ok := raw.(*Conn)
	if !ok || conn.Peer == "" {
		return nil, nil, ErrBadPeer
	}
	return conn, newAuthInfo(conn.Peer, CertificateKey(conn.ConnectionState().PeerCertificates[0])), nil
}

func (serverCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}
func (serverCredentials) Clone() credentials.TransportCredentials { return serverCredentials{} }
func (serverCredentials) OverrideServerName(string) error         { return nil }
