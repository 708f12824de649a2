package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/store"
)

// Address is a URL under which people reach the cluster: that of a node, or one that is
// entered in a Nextcloud.
type Address struct {
	URL string
	// Node is whose it is; empty: that of any.
	Node store.NodeID
	// Ticket makes the node tell as whom it sees who looks.
	Ticket string
	// Roots are trusted instead of those of the system; nil: those.
	Roots *x509.CertPool
}

const (
	connectTimeout = 5 * time.Second
	stepTimeout    = 10 * time.Second
	maxAddresses   = 8 // of one name that are tried
	certificateDue = 14 * 24 * time.Hour
)

// look is a look at one address.
type look struct {
	findings
	Address
	url     *url.URL // http or https, no slash at the end
	host    string   // with the port
	trusted bool     // its certificate, or it is plain HTTP on this machine
	local   bool     // the name is of this machine
	client  *http.Client
}

// Look goes from the name to the first message that a client would hear, and stops
// where nothing further can be seen.
func (a Address) Look(ctx context.Context) []Finding {
	l := &look{Address: a, findings: findings{about: a.URL}}
	if l.parse() && l.reach(ctx) {
		l.certificate(ctx)
		l.open()
		defer l.client.CloseIdleConnections()
		if l.welcome(ctx) {
			l.socket(ctx)
		}
	}
	return l.list
}

// Base is the address in the form of http.public_url, also if it is that of the
// WebSocket; nil if it is none.
func (a Address) Base() *url.URL {
	u, err := url.Parse(strings.TrimRight(a.URL, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil
	}
	u.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	u.Path = strings.TrimSuffix(u.Path, "/spreed")
	return u
}

func (l *look) parse() bool {
	u := l.Base()
	if u == nil {
		l.failed(CheckName, "not a URL of a signaling server", "write it as https://talk.example.org, with a path if the proxy has one")
		return false
	}
	l.url, l.host = u, u.Host
	if u.Port() == "" {
		l.host = net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	}
	return true
}

// reach resolves the name and connects to each of its addresses: clients may take any.
func (l *look) reach(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	name, port := l.url.Hostname(), l.host[strings.LastIndex(l.host, ":")+1:]
	addrs, err := addresses(ctx, name)
	if err != nil {
		text, do := explain(l.host, err)
		l.failed(CheckName, text, do)
		return false
	}
	l.local = addrs[0].IsLoopback()
	if name != addrs[0].String() {
		l.ok(CheckName, name+" is "+join(addrs))
	}
	switch {
	case l.Node != "" && addrs[0].IsLoopback():
		l.warning(CheckName, "this is the loopback of a machine: nobody else reaches the node by it, and none of its clients is sent there by others", "set http.public_url on "+string(l.Node)+" to the URL under which people reach it")
	case l.url.Scheme == "http" && !addrs[0].IsLoopback():
		l.failed(CheckName, "plain HTTP: browsers give no page a camera and no microphone, and a Nextcloud on HTTPS cannot use it", "give it a certificate and an https URL, itself (http.tls_cert) or by a reverse proxy; set http.public_url")
	}
	// At once, as those that do not answer take all the time there is.
	errs := make([]error, len(addrs))
	var calls sync.WaitGroup
	for i, a := range addrs {
		calls.Go(func() {
			conn, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port))
			if errs[i] = err; err == nil {
				_ = conn.Close() // nothing was said
			}
		})
	}
	calls.Wait()
	var dead []netip.Addr
	var last error
	for i, err := range errs {
		if err != nil {
			dead, last = append(dead, addrs[i]), err
		}
	}
	text, do := "", ""
	if last != nil {
		text, do = explain(l.host, last)
	}
	switch len(dead) {
	case 0:
		return true
	case len(addrs):
		l.failed(CheckConnection, text, do)
		return false
	}
	l.warning(CheckConnection, "of the addresses of the name some do not answer ("+join(dead)+"): "+text, "let the server listen there, or take them out of the DNS")
	return true
}

func addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs[:min(len(addrs), maxAddresses)], nil
}

func join(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// certificate looks at what the server shows. The look goes on also if it is not good:
// there may be more to find.
func (l *look) certificate(ctx context.Context) {
	if l.url.Scheme == "http" {
		l.trusted = l.local
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{
		ServerName: l.url.Hostname(), MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // verified below, to say what is wrong
	}}
	conn, err := dialer.DialContext(ctx, "tcp", l.host)
	if err != nil {
		text, do := explain(l.host, err)
		l.failed(CheckCertificate, text, do)
		return
	}
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	_ = conn.Close() // nothing was said
	options := x509.VerifyOptions{DNSName: l.url.Hostname(), Roots: l.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		text, do := explainCertificate(l.host, err)
		if text == "" {
			text = "the certificate is not valid: " + err.Error()
		}
		l.failed(CheckCertificate, text, do)
		return
	}
	l.trusted = true
	left := time.Until(chain[0].NotAfter)
	text := fmt.Sprintf("good for %s until %s", l.url.Hostname(), day(chain[0].NotAfter))
	if left < certificateDue {
		l.warning(CheckCertificate, fmt.Sprintf("%s: %d days are left", text, int(left.Hours()/24)), "see to it that it renews itself")
		return
	}
	l.ok(CheckCertificate, text)
}

// open makes the client for what follows. It follows no redirect, as a WebSocket of a
// browser follows none.
func (l *look) open() {
	l.client = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12, RootCAs: l.Roots,
				InsecureSkipVerify: !l.trusted, //nolint:gosec // it has been said, and nothing secret follows then
			},
			TLSHandshakeTimeout: connectTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       stepTimeout,
	}
}
