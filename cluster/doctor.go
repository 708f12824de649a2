package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/cluster/rpc"
	"github.com/talkd/talkd/store"
)

// A node that gets nowhere at its start looks why: whether its clock is off, so
// that certificates seem not good yet or no more, and whether those that it calls
// are another cluster. It asks on the protocol of joining, where nobody shows a
// certificate but the one who answers; and only for the time of day.

// reading is the clock of another node.
type reading struct {
	node store.NodeID
	off  time.Duration // of this machine's; positive: ahead
}

// check is ErrClock if the clocks differ by more than certificates bear.
func (r reading) check() error {
	if r.off.Abs() <= clockTolerance {
		return nil
	}
	way := "ahead of"
	if r.off < 0 {
		way = "behind"
	}
	return fmt.Errorf("%w: it is %s %s that of node %s", ErrClock, r.off.Abs().Round(time.Second), way, r.node)
}

// readClock asks whoever is at an address for the time, and checks that it has a
// certificate by one of the authorities, whatever the time is.
func (c *Cluster) readClock(ctx context.Context, addr string, authorities func([]*x509.Certificate) (*x509.CertPool, error)) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	var leaf *x509.Certificate
	verify := func(s tls.ConnectionState) error {
		roots, err := authorities(s.PeerCertificates)
		if err != nil {
			return err
		}
		others := x509.NewCertPool()
		for _, ca := range s.PeerCertificates[1:] {
			others.AddCert(ca)
		}
		leaf = s.PeerCertificates[0]
		if _, err := leaf.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: others, CurrentTime: leaf.NotBefore, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}); err != nil {
			return fmt.Errorf("%w: %w", errStranger, err)
		}
		return nil
	}
	reply, err := c.askToJoin(ctx, addr, verify, joinRequest{Version: joinVersion, Kind: kindClock})
	if err != nil {
		return reading{}, err
	}
	if reply.Now.IsZero() {
		return reading{}, errors.New("it does not tell the time")
	}
	return c.readingOf(leaf, reply.Now)
}

// readingOf is what the node of a certificate says the time is, now.
func (c *Cluster) readingOf(peer *x509.Certificate, now time.Time) (reading, error) {
	node, err := rpc.CertificateNode(peer)
	return reading{node: node, off: c.now().Sub(now)}, err
}

// errStranger is a node by another authority.
var errStranger = errors.New("another cluster")

// diagnose says why this node gets nowhere, nil if it cannot tell. ErrClock needs
// one node that answers; ErrWrongCluster that all which the operator named, or
// all that are known, answer as another cluster.
func (c *Cluster) diagnose(ctx context.Context) error {
	addrs := c.config.Join
	if len(addrs) == 0 {
		for _, p := range c.knownPeers() {
			addrs = append(addrs, p.Cluster)
		}
	}
	strangers := 0
	for _, addr := range addrs[:min(len(addrs), clockAsks)] {
		r, err := c.readClock(ctx, addr, func([]*x509.Certificate) (*x509.CertPool, error) { return c.identity.Roots() })
		switch {
		case err == nil:
			if err := r.check(); err != nil {
				return err
			}
		case errors.Is(err, errStranger):
			strangers++
		}
	}
	if strangers > 0 && strangers == min(len(addrs), clockAsks) {
		return ErrWrongCluster
	}
	return nil
}

// checkCertificate says what is wrong when this node's own certificate is not
// good by its clock: the clock, or the certificate.
func (c *Cluster) checkCertificate(ctx context.Context) error {
	leaf, now := c.identity.p.Load().cert.Load().Leaf, c.now()
	if !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter) {
		return nil
	}
	if err := c.diagnose(ctx); err != nil {
		return err
	}
	return fmt.Errorf("%w: by the clock of this machine it is %s and the node's certificate is good from %s to %s: set the clock right; if it is, empty node.data and join with a new join token",
		ErrIdentity, now.UTC().Format(time.RFC3339), leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
}

// checkClock compares the clocks when a node is let in.
func (c *Cluster) checkClock(peer *x509.Certificate, now time.Time) error {
	if now.IsZero() {
		return nil // an older node's answer
	}
	r, err := c.readingOf(peer, now)
	if err != nil {
		return err
	}
	return r.check()
}

// clockOr tells that the clock is off if that is why the certificate of a node to
// join is not good.
func (c *Cluster) clockOr(ctx context.Context, addr string, token joinToken, err error) error {
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		return err
	}
	r, readErr := c.readClock(ctx, addr, func(chain []*x509.Certificate) (*x509.CertPool, error) {
		for _, ca := range chain {
			if pin := pinOf(ca); ca.IsCA && pin == token.pin {
				roots := x509.NewCertPool()
				roots.AddCert(ca)
				return roots, nil
			}
		}
		return nil, errStranger
	})
	if readErr != nil {
		return err
	}
	if clock := r.check(); clock != nil {
		return clock
	}
	return err
}
