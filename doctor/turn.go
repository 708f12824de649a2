package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/talkd/talkd/turn"
	"github.com/talkd/talkd/turn/client"
)

// TURN is what a node tells clients of STUN and TURN servers, with credentials for a look.
// They are not shown to anybody.
type TURN struct {
	STUN []string `json:"stun,omitempty"`
	URIs []string `json:"uris,omitempty"`
	// Login is what clients get; Longer is still good where the clock is weeks ahead.
	Login  Login         `json:"login,omitzero"`
	Longer Login         `json:"longer,omitzero"`
	TTL    time.Duration `json:"ttl,omitempty"` // of Login, in nanoseconds
}

// Login opens TURN servers.
type Login struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// OfferTURN makes what Look needs.
func OfferTURN(s turn.Servers, now time.Time) (*TURN, error) {
	offer := &TURN{STUN: turn.Texts(s.STUN), URIs: turn.Texts(s.TURN), TTL: s.Lifetime}
	if !s.Relay() {
		return offer, nil
	}
	login, err := s.Credentials("", now)
	if err != nil {
		return nil, err
	}
	longer, err := s.Longer("", now)
	offer.Login, offer.Longer = Login{login.Username, login.Password}, Login{longer.Username, longer.Password}
	return offer, err
}

// Look goes to each server by each of its ways, as a client does that cannot reach a node:
// one after the other, as servers count how many relay addresses somebody has. Roots are
// trusted instead of those of the system; nil: those.
func (t *TURN) Look(ctx context.Context, roots *x509.CertPool) []Finding {
	if t == nil || len(t.STUN)+len(t.URIs) == 0 {
		return []Finding{{
			Check: CheckTURN, About: "TURN", Result: Note,
			Text: "no server is configured (turn.servers). Whoever cannot send UDP uses TCP to the media port, or the TURN server that is entered in Nextcloud, which is not looked at here",
		}}
	}
	var list []Finding
	for _, text := range append(t.STUN[:len(t.STUN):len(t.STUN)], t.URIs...) {
		l := &turnLook{findings: findings{about: text}, offer: t, roots: roots}
		if u, err := turn.ParseURI(text); err != nil {
			l.failed(CheckTURN, err.Error(), "correct turn.servers and turn.stun")
		} else {
			l.uri = u
			l.look(ctx)
		}
		list = append(list, l.list...)
	}
	return list
}

// Working are the ways by which somebody was relayed, nil if there is none.
func (t *TURN) Working(found []Finding) *TURN {
	if t == nil {
		return nil
	}
	w := &TURN{Login: t.Login}
	for _, uri := range t.URIs {
		if slices.ContainsFunc(found, func(f Finding) bool { return f.Check == CheckTURN && f.About == uri && f.Result == OK }) {
			w.URIs = append(w.URIs, uri)
		}
	}
	if len(w.URIs) == 0 {
		return nil
	}
	return w
}

// turnLook is a look at one way to a server.
type turnLook struct {
	findings
	uri   turn.URI
	offer *TURN
	roots *x509.CertPool
}

func (l *turnLook) look(ctx context.Context) {
	if l.uri.Secure() && l.uri.Transport == turn.UDP {
		l.add(CheckTURN, Note, "not looked at: TURN by DTLS, which browsers do not have", "write it as turns:…?transport=tcp")
		return
	}
	addrs, err := addresses(ctx, l.uri.Host)
	if err != nil {
		text, do := l.explainSilence(err)
		l.failed(CheckTURN, text, do)
		return
	}
	r, ok := l.find(ctx, addrs)
	if !ok {
		return
	}
	defer func() { _ = r.client.Close() }() // there is nothing left to hear
	if left := time.Until(r.until); !r.until.IsZero() && left < certificateDue {
		l.warning(CheckTURN, fmt.Sprintf("its certificate is good for %d days only", int(left.Hours()/24)), "see to it that it renews itself, and that the TURN server reads the new one")
	}
	if !l.uri.Relays() {
		l.ok(CheckTURN, "it answers, and sees this machine as "+r.mapped.Addr().String())
		return
	}
	if a, ok := l.allocate(ctx, r); ok {
		l.relay(ctx, r.client, a)
	}
}

// reached is a server that answers at one of its addresses.
type reached struct {
	client *client.Client
	at     netip.Addr
	mapped netip.AddrPort // as whom it sees this machine
	until  time.Time      // its certificate is good; zero without one
}

// find asks at all addresses of a name at once, as clients may take any, and has the first
// of them that answers.
func (l *turnLook) find(ctx context.Context, addrs []netip.Addr) (reached, bool) {
	found, errs := make([]reached, len(addrs)), make([]error, len(addrs))
	var calls sync.WaitGroup
	for i, a := range addrs {
		calls.Go(func() { found[i], errs[i] = l.reach(ctx, a) })
	}
	calls.Wait()
	first := slices.IndexFunc(errs, func(err error) bool { return err == nil })
	if first < 0 {
		text, do := l.explainSilence(telling(errs))
		l.failed(CheckTURN, text, do)
		return reached{}, false
	}
	for i, err := range errs {
		switch {
		case i == first:
		case err == nil:
			_ = found[i].client.Close() // one is enough
		case noWay(err):
		default:
			text, do := l.explainSilence(err)
			l.warning(CheckTURN, fmt.Sprintf("of the addresses of its name %v does not answer: %s", addrs[i], text), do+"; or take that address out of the DNS")
		}
	}
	return found[first], true
}

// noWay tells whether this machine has no IPv6, or no IPv4.
func noWay(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// telling is the error that says most: of a server that is there, if there is one.
func telling(errs []error) error {
	for _, err := range errs {
		if !noWay(err) && !errors.Is(err, syscall.ECONNREFUSED) {
			return err
		}
	}
	return errs[0]
}

// handshakeError is what is wrong with TLS.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// reach connects to one address, by TLS as a browser does, and asks the question of STUN.
func (l *turnLook) reach(ctx context.Context, a netip.Addr) (reached, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	r := reached{at: a}
	conn, err := (&net.Dialer{}).DialContext(ctx, string(l.uri.Transport), netip.AddrPortFrom(a, l.uri.Port).String())
	if err != nil {
		return r, err
	}
	if l.uri.Secure() {
		secure := tls.Client(conn, &tls.Config{ServerName: l.uri.Host, MinVersion: tls.VersionTLS12, RootCAs: l.roots})
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close() // nothing was said
			return r, handshakeError{err}
		}
		conn, r.until = secure, secure.ConnectionState().PeerCertificates[0].NotAfter
	}
	r.client = client.New(conn, l.uri.Transport == turn.TCP)
	if r.mapped, err = r.client.Bind(ctx); err != nil {
		_ = r.client.Close() // it has been told what is wrong
	}
	return r, err
}

// explainSilence says why nothing was said to the server, or nothing was heard of it.
func (l *turnLook) explainSilence(err error) (text, do string) {
	where := fmt.Sprintf("%s port %d", transportName(l.uri), l.uri.Port)
	var refused *client.Refusal
	var handshake handshakeError
	switch {
	case errors.As(err, &handshake):
		if text, do := explainCertificate(l.uri.HostPort(), err); text != "" {
			return text, do
		}
		return "there is no TLS: " + innermost(err), "give the TURN server a certificate at this port (coturn: tls-listening-port, cert, pkey), or correct the port"
	case errors.Is(err, client.ErrMalformed), errors.Is(err, client.ErrClosed), errors.Is(err, client.ErrSilent) && l.uri.Transport != turn.UDP:
		return "something else than a STUN or TURN server answers at " + where, "correct the port, or what is passed on to it: a reverse proxy for HTTP cannot pass TURN on"
	case errors.As(err, &refused):
		return fmt.Sprintf("it answers the question of STUN with %d (%s)", refused.Code, refused.Reason), "let it answer STUN (coturn: no no-stun, no secure-stun)"
	case errors.Is(err, client.ErrSilent):
		return "nothing comes back from " + where, "start the TURN server there, and open the port for UDP in the firewalls in between; a network without UDP is what the ways by TCP and TLS are for"
	}
	text, do = explain(l.uri.HostPort(), err)
	var dns *net.DNSError
	if !errors.As(err, &dns) {
		do = "start the TURN server there, and open " + where + " in the firewalls in between"
	}
	return text, do
}

func transportName(u turn.URI) string {
	switch {
	case u.Secure():
		return "TLS"
	case u.Transport == turn.TCP:
		return "TCP"
	}
	return "UDP"
}
