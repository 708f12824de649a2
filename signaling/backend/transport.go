package backend

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/talkd/talkd/signaling/quiet"
)

// errNotLoopback: the name of a plain HTTP instance turned out to be elsewhere.
var errNotLoopback = errors.New("plain HTTP beyond loopback")

const dialTimeout = 5 * time.Second

// newLines makes a client that speaks HTTP/1.1, follows no redirect, asks no proxy and
// bounds everything. The instances may have private addresses, as only the
// operator names them.
func newLines(cfg Config) *lines {
	secure := &net.Dialer{Timeout: dialTimeout}
	plain := &net.Dialer{Timeout: dialTimeout, ControlContext: onlyLoopback}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs, NextProtos: []string{"http/1.1"}}
	dial := func(ctx context.Context, u *url.URL) (net.Conn, error) {
		if u.Scheme == "http" {
			conn, err := plain.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
			if err != nil {
				return nil, err
			}
			return quiet.Conn(conn), nil
		}
		conn, err := secure.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
		if err != nil {
			return nil, err
		}
		return handshake(ctx, quiet.Conn(conn), u.Hostname(), config)
	}
	return &lines{dial: dial, most: cfg.MaxConns, hosts: make(map[string]*host)}
}

// handshake makes a TLS connection of one to that name, or closes it.
func handshake(ctx context.Context, conn net.Conn, name string, config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	config = config.Clone()
	config.ServerName = name
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// onlyLoopback looks at the address that a name led to, so that whoever answers
// for "localhost" cannot send plain requests away.
func onlyLoopback(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || !ap.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%w: refused", errNotLoopback)
	}
	return nil
}
