package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
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

const (
	relayTimeout = 3 * time.Second        // for a packet by the relay
	relayEvery   = 300 * time.Millisecond // it is sent again
)

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

// allocate gets a relay address with the credentials that clients have.
func (l *turnLook) allocate(ctx context.Context, r reached) (client.Allocation, bool) {
	a, err := l.login(ctx, r.client, l.offer.Login)
	if err == nil {
		if a.Open {
			l.warning(CheckTURN, "it relays for everybody, without credentials", "let it want them (coturn: use-auth-secret), before strangers find it")
		}
		return a, true
	}
	var refused *client.Refusal
	switch {
	case errors.Is(err, client.ErrNoRealm):
		l.failed(CheckTURN, "it wants credentials and names no realm, so that no client can have any", "set its realm (coturn: realm=turn.example.org)")
	case errors.Is(err, client.ErrUnsigned):
		l.failed(CheckTURN, "it takes any credentials, but knows another secret: clients do not believe what it answers", sameSecret)
	case errors.As(err, &refused):
		text, do := l.explainRefusal(ctx, r.at, refused)
		l.failed(CheckTURN, text, do)
	default:
		l.failed(CheckTURN, "it answers STUN, but not who wants a relay address: "+err.Error(), "look into its log")
	}
	return client.Allocation{}, false
}

func (l *turnLook) login(ctx context.Context, c *client.Client, with Login) (client.Allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	a, err := c.Allocate(ctx, with.Username, with.Password, false)
	var refused *client.Refusal
	if errors.As(err, &refused) && refused.Code == client.CodeFamily {
		return c.Allocate(ctx, with.Username, with.Password, true) // it has no IPv4
	}
	return a, err
}

const sameSecret = "enter the same secret on both sides: turn.secret here; there static-auth-secret, with use-auth-secret (coturn)"

// explainRefusal says what the code of RFC 8656 section 19 means here.
func (l *turnLook) explainRefusal(ctx context.Context, at netip.Addr, r *client.Refusal) (text, do string) {
	switch r.Code {
	case 400, client.CodeUnauthorized, client.CodeWrong: // 400 is what servers of Pion say
		if l.clockAhead(ctx, at) {
			return fmt.Sprintf("its clock is more than %v ahead of that of the node: credentials are too old when they are made", l.offer.TTL), "set the clocks of both machines by NTP"
		}
		return fmt.Sprintf("it refuses the credentials (%d): it has another secret, or none, or computes passwords for another realm than it names", r.Code), sameSecret
	case client.CodeForbidden:
		return "it gives nobody from here a relay address (403)", "look at who may use it (coturn: allowed-peer-ip, denied-peer-ip, and its log)"
	case client.CodeQuota:
		return "it gives no more relay addresses (486): its quota is used up", "raise it (coturn: user-quota, total-quota): each person in a call needs several, for each network and each way to the server"
	case client.CodeNoneLeft:
		return "it has no relay address left (508)", "give it more ports (coturn: min-port, max-port), or a relay address that this machine has (relay-ip)"
	case client.CodeTryAlternate:
		return "it sends clients to another server (300), which browsers do not follow", "name that server in turn.servers"
	}
	return fmt.Sprintf("it gives no relay address: %d (%s)", r.Code, r.Reason), "look into its log"
}

// clockAhead tells whether credentials that last longer are taken.
func (l *turnLook) clockAhead(ctx context.Context, at netip.Addr) bool {
	r, err := l.reach(ctx, at)
	if err != nil {
		return false
	}
	defer func() { _ = r.client.Close() }() // it was to learn one thing
	_, err = l.login(ctx, r.client, l.offer.Longer)
	return err == nil
}

// relay sends a packet to the relay address as others in a call do, and one back. What does
// not come back is sent from the relay address to itself: that shows which half is broken.
func (l *turnLook) relay(ctx context.Context, c *client.Client, a client.Allocation) {
	where := a.Relayed.String()
	took, err := l.byRelay(ctx, c, a)
	if err == nil {
		l.ok(CheckTURN, fmt.Sprintf("it relays: a packet to %s and back took %v", where, took.Round(100*time.Microsecond)))
		return
	}
	var refused *client.Refusal
	itself := l.toItself(ctx, c, a)
	switch {
	case errors.Is(err, errFamily) && itself == nil:
		l.ok(CheckTURN, "it relays: a packet from "+where+" to itself came back; this machine cannot send there, as the server sees it by IPv6")
	case errors.As(err, &refused) && itself == nil:
		text := fmt.Sprintf("it relays, but not to %v, as whom it sees this machine (%d)", a.Mapped.Addr(), refused.Code)
		do := "well if no node and nobody in a call has such an address; else allow it there (coturn: allowed-peer-ip, allow-loopback-peers)"
		l.warning(CheckTURN, text, do)
	case errors.As(err, &refused):
		l.failed(CheckTURN, fmt.Sprintf("it gives relay addresses, but relays to nobody: neither to %v, as whom it sees this machine (%d), nor to itself", a.Mapped.Addr(), refused.Code),
			"allow the addresses of nodes and people there (coturn: allowed-peer-ip, denied-peer-ip)")
	case itself == nil && (a.Relayed.Addr().IsPrivate() && !a.Mapped.Addr().IsPrivate()):
		l.failed(CheckTURN, "it relays, but names a private relay address, "+where+", that nobody outside reaches", "tell it its public address (coturn: external-ip)")
	case itself == nil && l.uri.Transport != turn.UDP:
		l.warning(CheckTURN, "it relays, but this machine does not reach the relay address "+where+" by UDP",
			"well if this network lets no UDP out; else open the ports of relay addresses there for UDP (coturn: min-port to max-port)")
	case itself == nil:
		l.failed(CheckTURN, "it relays, but nobody reaches the relay address "+where, "open the ports of relay addresses for UDP in its firewall (coturn: min-port to max-port)")
	default:
		l.failed(CheckTURN, "it gives the relay address "+where+", but nothing that is sent there arrives",
			"let it use an address that its machine has (coturn: relay-ip), behind NAT with the public one in external-ip, and open the ports of relay addresses for UDP (min-port to max-port)")
	}
}

var (
	errLost   = errors.New("lost")
	errFamily = errors.New("another address family")
)

// byRelay sends a packet from another socket to the relay address, and back.
func (l *turnLook) byRelay(ctx context.Context, c *client.Client, a client.Allocation) (time.Duration, error) {
	if a.Mapped.Addr().Is4() != a.Relayed.Addr().Is4() {
		return 0, errFamily
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := c.Permit(ctx, a.Mapped.Addr()); err != nil {
		return 0, err
	}
	other, err := (&net.Dialer{}).DialContext(ctx, "udp", a.Relayed.String())
	if err != nil {
		return 0, err
	}
	defer func() { _ = other.Close() }() // of UDP
	token := []byte(rand.Text())
	begun := time.Now()
	from, err := l.await(ctx, c, token, func() error {
		begun = time.Now()
		_, err := other.Write(token)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := c.Send(from, token); err != nil {
		return 0, err
	}
	got := make([]byte, 2*len(token))
	if err := other.SetReadDeadline(time.Now().Add(relayTimeout)); err != nil {
		return 0, err
	}
	for {
		n, err := other.Read(got)
		if err != nil {
			return 0, err
		}
		if bytes.Equal(got[:n], token) {
			return time.Since(begun), nil
		}
	}
}

// toItself sends a packet from the relay address to itself.
func (l *turnLook) toItself(ctx context.Context, c *client.Client, a client.Allocation) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := c.Permit(ctx, a.Relayed.Addr()); err != nil {
		return err
	}
	token := []byte(rand.Text())
	_, err := l.await(ctx, c, token, func() error { return c.Send(a.Relayed, token) })
	return err
}

// await sends until the token has come by the relay, and says from where.
func (l *turnLook) await(ctx context.Context, c *client.Client, token []byte, send func() error) (netip.AddrPort, error) {
	for ctx.Err() == nil {
		if err := send(); err != nil {
			return netip.AddrPort{}, err
		}
		again, cancel := context.WithTimeout(ctx, relayEvery)
		for {
			from, data, err := c.Receive(again)
			if err == nil && bytes.Equal(data, token) {
				cancel()
				return from, nil
			}
			if errors.Is(err, client.ErrSilent) {
				break
			}
			if err != nil {
				cancel()
				return netip.AddrPort{}, err
			}
		}
		cancel()
	}
	return netip.AddrPort{}, errLost
}
