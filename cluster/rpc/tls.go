package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/talkd/talkd/store"
)

// serverTLS decides by the protocols the client offers whether it must show a
// certificate: a client that offers talkd-join gets nothing but talkd-join.
func serverTLS(id Identity) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			cert, err := id.Certificate()
			if err != nil {
				return nil, err
			}
			c := &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{*cert},
				SessionTicketsDisabled: true, // each connection proves itself anew
			}
			if slices.Contains(hello.SupportedProtos, ProtoJoin) {
				c.NextProtos = []string{ProtoJoin}
				return c, nil
			}
			c.NextProtos = []string{ProtoRaft, ProtoRPC, ProtoHTTP}
			// The chain is verified in VerifyConnection, so that both ends
			// follow one rule.
			c.ClientAuth = tls.RequireAnyClientCert
			c.VerifyConnection = func(s tls.ConnectionState) error {
				_, err := verify(id, s, x509.ExtKeyUsageClientAuth)
				return err
			}
			return c, nil
		},
	}
}

// clientTLS dials one node, or with an empty id any node of the cluster.
func clientTLS(id Identity, d door, want store.NodeID, proto string) (*tls.Config, error) {
	cert, err := id.Certificate()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{*cert},
		NextProtos:   []string{proto},
		// Certificates name nodes, not hosts: VerifyConnection does what the
		// standard verification would, with the node's name.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			got, err := verify(id, s, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			if want != "" && got != want {
				return fmt.Errorf("%w: %s instead of %s", ErrWrongPeer, got, want)
			}
			if d.shut(got, s.PeerCertificates[0]) {
				return fmt.Errorf("%s: %w", got, ErrBanished)
			}
			if s.NegotiatedProtocol != proto {
				return fmt.Errorf("%w: it does not speak %s", ErrBadPeer, proto)
			}
			return nil
		},
	}, nil
}

// verify checks the peer's chain against the cluster's CA and gives its name.
func verify(id Identity, s tls.ConnectionState, usage x509.ExtKeyUsage) (store.NodeID, error) {
	roots, err := id.Roots()
	if err != nil {
		return "", err
	}
	return VerifyChain(roots, s.PeerCertificates, usage)
}

// VerifyChain checks a chain against CAs and gives the node that it is of. What
// comes along with a certificate may lead to an older CA.
func VerifyChain(roots *x509.CertPool, chain []*x509.Certificate, usage x509.ExtKeyUsage) (store.NodeID, error) {
	if len(chain) == 0 {
		return "", fmt.Errorf("%w: no certificate", ErrBadPeer)
	}
	between := x509.NewCertPool()
	for _, ca := range chain[1:] {
		between.AddCert(ca)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}}
	if _, err := chain[0].Verify(options); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadPeer, err)
	}
	return CertificateNode(chain[0])
}
