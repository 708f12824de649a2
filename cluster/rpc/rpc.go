// Package rpc connects the nodes of a cluster: one TCP port for everything
// that is not media or gossip.
//
//	listener -> accept -> TLS 1.3 handshake -> talkd-raft -> Raft's stream layer
//	                      (bounded, timed)     talkd-rpc  -> gRPC server
//	                                           talkd-http -> whoever serves HTTPListener
//	                                           talkd-join -> join handler
//	Dial(node) -> cached gRPC connection ----> TLS to that very node
//
// What a connection is for is told by ALPN (RFC 7301). All but talkd-join need
// a client certificate of the cluster's CA; who is at the other end is the URI
// SAN of its certificate and nothing else.
//
// Mesh.Run owns the accepting goroutine, one goroutine per handshake, one per
// joining node, and the gRPC server's. It returns when they are gone.
package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/talkd/talkd/store"
)

// Protocols that the port speaks, as ALPN names.
const (
	ProtoRaft = "talkd-raft"
	ProtoRPC  = "talkd-rpc"
	ProtoHTTP = "talkd-http" // HTTP/1.1: requests that another node passes on whole
	ProtoJoin = "talkd-join"
)

// Errors of connections between nodes.
var (
	ErrClosed      = errors.New("closed")
	ErrUnknownNode = errors.New("no address of that node is known")
	ErrWrongPeer   = errors.New("another node answered than the one dialled")
	ErrBadPeer     = errors.New("peer is no node of this cluster")
	ErrBanished    = errors.New("the node was removed from the cluster")
	ErrNoIdentity  = errors.New("this node has no certificate yet")
	ErrFull        = errors.New("too many connections")
)

// Identity is this node's certificate and the CA that it trusts. Both may be
// replaced while connections are open; new ones see the new value.
type Identity interface {
	Certificate() (*tls.Certificate, error) // ErrNoIdentity before the node joined
	Roots() (*x509.CertPool, error)
}

const (
	uriScheme = "talkd"
	uriHost   = "node"
)

// NodeURI is the URI SAN of a node's certificate.
func NodeURI(id store.NodeID) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: uriHost, Path: "/" + string(id)}
}

// CertificateNode is the node that a certificate names. It trusts the
// certificate: verify the chain first.
func CertificateNode(cert *x509.Certificate) (store.NodeID, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("%w: certificate with %d URIs", ErrBadPeer, len(cert.URIs))
	}
	u := cert.URIs[0]
	name, found := strings.CutPrefix(u.Path, "/")
	id, err := store.ParseNodeID(name)
	if err != nil || !found || u.String() != NodeURI(id).String() {
		return "", fmt.Errorf("%w: certificate names no node", ErrBadPeer)
	}
	return id, nil
}
