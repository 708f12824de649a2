package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// errNotLoopback: the name of a plain HTTP instance turned out to be elsewhere.
var errNotLoopback = errors.New("plain HTTP beyond loopback")

const (
	dialTimeout = 5 * time.Second
	idleTimeout = 90 * time.Second
	maxHeader   = 64 << 10
)

// newHTTPClient makes a client that follows no redirect, asks no proxy and
// bounds everything. The instances may have private addresses, as only the
// operator names them.
func newHTTPClient(cfg Config) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	loopback := &net.Dialer{Timeout: dialTimeout, ControlContext: onlyLoopback}
	return &http.Client{
		Transport: &byScheme{
			secure: newTransport(cfg, dialer),
			plain:  newTransport(cfg, loopback),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport(cfg Config, d *net.Dialer) *http.Transport {
	return &http.Transport{
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		MaxConnsPerHost:        cfg.MaxConns,
		MaxIdleConnsPerHost:    cfg.MaxConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
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

// byScheme keeps the connections apart whose addresses are checked.
type byScheme struct {
	secure, plain *http.Transport
}

func (t *byScheme) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" {
		return t.plain.RoundTrip(r)
	}
	return t.secure.RoundTrip(r)
}

func (t *byScheme) CloseIdleConnections() {
	t.plain.CloseIdleConnections()
	t.secure.CloseIdleConnections()
}
