package federation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/wire"
)

var (
	errURL     = errors.New("not the URL of a signaling server")
	errAddress = errors.New("an address where no other server may be")
	// errConnect stands for what went wrong: the text of that has addresses in it.
	errConnect = errors.New("cannot be connected to")
)

// Config of a Dialer.
type Config struct {
	// Networks are where other servers may be, besides the public Internet. Without
	// TLS they may be on loopback only, if that is among the networks.
	Networks []netip.Prefix
	RootCAs  *x509.CertPool // nil: those of the system
	// Observe hears of each interruption, how it ended.
	Observe func(result string)
}

// Dialer makes links.
type Dialer struct {
	cfg           Config
	secure, plain *http.Client
}

// NewDialer makes a Dialer.
func NewDialer(cfg Config) *Dialer {
	if cfg.Observe == nil {
		cfg.Observe = func(string) {}
	}
	d := &Dialer{cfg: cfg}
	d.secure = d.client(func(a netip.Addr) bool { return public(a) || d.among(a) })
	d.plain = d.client(func(a netip.Addr) bool { return a.IsLoopback() && d.among(a) })
	return d
}

const (
	dialTimeout = 5 * time.Second
	maxHeader   = 64 << 10
)

// client follows no redirect, asks no proxy, and looks at each address that a name
// leads to: it may be another one than a moment ago.
func (d *Dialer) client(allowed func(netip.Addr) bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			if ap, err := netip.ParseAddrPort(address); err != nil || !allowed(ap.Addr().Unmap()) {
				return errAddress
			}
			return nil
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.cfg.RootCAs},
			TLSHandshakeTimeout:    dialTimeout,
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (d *Dialer) among(a netip.Addr) bool {
	return slices.ContainsFunc(d.cfg.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// special are the networks that look public and are not, or lead to others (the
// registries of special-purpose addresses, RFC 6890).
var special = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// socketURL is the WebSocket of a server.
func socketURL(rawURL string) (*url.URL, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, errURL
	}
	switch u.Scheme {
	case "wss", "https":
		u.Scheme = "wss"
	case "ws", "http":
		u.Scheme = "ws"
	default:
		return nil, errURL
	}
	return u.JoinPath("spreed"), nil
}

// dial connects to a server. It answers with its welcome, which says whether it takes
// federated clients.
func (d *Dialer) dial(ctx context.Context, rawURL string) (*line, error) {
	u, err := socketURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, err)
	}
	client := d.plain
	if u.Scheme == "wss" {
		client = d.secure
	}
	//nolint:bodyclose // the library closes the body of the answer itself
	ws, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: client})
	switch {
	case errors.Is(err, errAddress):
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errAddress)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", wire.ErrFederationFailed, errConnect)
	}
	ws.SetReadLimit(-1) // the line bounds what it reads
	l := &line{ws: ws}
	welcome, err := l.next(ctx)
	switch {
	case err != nil:
	case welcome.Type != wire.TypeWelcome || !slices.Contains(welcome.Welcome.Features, wire.FeatureFederation):
		err = wire.ErrFederation
	}
	if err != nil {
		l.cut()
		return nil, err
	}
	return l, nil
}
