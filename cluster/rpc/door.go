package rpc

import (
	"context"
	"crypto/x509"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/talkd/talkd/store"
)

// door turns away nodes that were removed: their certificates are good until
// they expire, and nobody can take them back. Raft is closed to them, and every
// service, but for the calls that tell them what has happened.
type door struct {
	banished func(id store.NodeID, key string) bool // nil: nobody is
	told     map[string]bool                        // methods that are open all the same
}

func newDoor(banished func(store.NodeID, string) bool, told []string) door {
	d := door{banished: banished, told: make(map[string]bool, len(told))}
	for _, method := range told {
		d.told[method] = true
	}
	return d
}

// shut tells whether the door is shut to whoever showed this certificate.
func (d door) shut(id store.NodeID, cert *x509.Certificate) bool {
	return d.banished != nil && d.banished(id, CertificateKey(cert))
}

func (d door) check(ctx context.Context, method string) error {
	if d.banished == nil || d.told[method] {
		return nil
	}
	id, _ := PeerID(ctx)
	if key, ok := PeerKey(ctx); ok && d.banished(id, key) {
		return status.Error(codes.PermissionDenied, ErrBanished.Error())
	}
	return nil
}

func (d door) unary(ctx context.Context, q any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := d.check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, q)
}

func (d door) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := d.check(s.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, s)
}

// CertificateKey is the key of a certificate as the node's record has it.
func CertificateKey(cert *x509.Certificate) string {
	return store.HashKey(cert.RawSubjectPublicKeyInfo)
}
