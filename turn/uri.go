package turn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Scheme is that of a URI.
type Scheme string

// Schemes of RFC 7064 section 3.1 and RFC 7065 section 3.1; those with an s are by TLS.
const (
	SchemeSTUN  Scheme = "stun"
	SchemeSTUNS Scheme = "stuns"
	SchemeTURN  Scheme = "turn"
	SchemeTURNS Scheme = "turns"
)

// Transport is how a client comes to the server. To others the server sends UDP.
type Transport string

// Transports of RFC 7065 section 3.1.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
)

// Ports where none is given: RFC 8489 section 8.1, RFC 8656 section 3.1.
const (
	DefaultPort    = 3478
	DefaultTLSPort = 5349
)

const (
	maxURI   = 300
	maxHost  = 253 // RFC 1035 section 2.3.4, as text
	maxLabel = 63
)

// ErrURI is wrapped by each complaint of ParseURI.
var ErrURI = errors.New("not the URI of a STUN or TURN server")

// URI names a STUN or TURN server, and the way to it.
type URI struct {
	Scheme    Scheme
	Host      string    // a name in lower case, or an address; IPv6 without brackets
	Port      uint16    // never 0
	Transport Transport // never empty; with TLS and UDP it is DTLS
}

// ParseURI reads stun:host[:port], turn:host[:port][?transport=udp] and those by TLS. What
// is left out is filled in.
func ParseURI(text string) (URI, error) {
	if len(text) > maxURI {
		return URI{}, fmt.Errorf("%w: longer than %d bytes", ErrURI, maxURI)
	}
	wrong := func(what string) (URI, error) {
		return URI{}, fmt.Errorf("%w: %q %s", ErrURI, text, what)
	}
	if strings.Contains(text, "@") { // not shown: what is before it may be a password
		return URI{}, fmt.Errorf("%w: one names a user, before an @; write it as turn:turn.example.org:3478?transport=udp, credentials are made of the secret", ErrURI)
	}
	scheme, rest, found := strings.Cut(text, ":")
	u := URI{Scheme: Scheme(strings.ToLower(scheme)), Port: DefaultPort, Transport: UDP}
	switch u.Scheme {
	case SchemeSTUN, SchemeTURN:
	case SchemeSTUNS, SchemeTURNS:
		u.Port, u.Transport = DefaultTLSPort, TCP
	default:
		found = false
	}
	if !found {
		return wrong("has none of the schemes stun, stuns, turn and turns; write it as turn:turn.example.org:3478?transport=udp")
	}
	if strings.HasPrefix(rest, "//") {
		return wrong("has slashes; write it as turn:turn.example.org:3478?transport=udp")
	}
	rest, query, asked := strings.Cut(rest, "?")
	if asked {
		name, value, _ := strings.Cut(query, "=")
		u.Transport = Transport(strings.ToLower(value))
		if !u.Relays() || name != "transport" || u.Transport != UDP && u.Transport != TCP {
			return wrong("has something behind the ? that is neither transport=udp nor transport=tcp of a TURN server")
		}
	}
	host, port, ok := cutPort(rest)
	if !ok {
		return wrong("has no host; an IPv6 address stands in brackets")
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '+' {
			return wrong("has no port between 1 and 65535")
		}
		u.Port = uint16(n)
	}
	if u.Host, ok = checkHost(host); !ok {
		return wrong("has neither a name nor an address as its host")
	}
	return u, nil
}

// cutPort parts host and port. Of an IPv6 address the brackets stay.
func cutPort(rest string) (host, port string, ok bool) {
	end := strings.IndexByte(rest, ':')
	if strings.HasPrefix(rest, "[") {
		if end = strings.IndexByte(rest, ']') + 1; end == 0 {
			return "", "", false
		}
	}
	if end < 0 || end == len(rest) {
		return rest, "", rest != ""
	}
	return rest[:end], rest[end+1:], end > 0 && rest[end] == ':' && end+1 < len(rest)
}

// checkHost gives a host in the form that URI has.
func checkHost(host string) (string, bool) {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return a.String(), err == nil && a.Is6() && a.Zone() == ""
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return a.String(), a.Is4()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	// A last label of digits is that of an address, and was none (RFC 3696 section 2).
	last := labels[len(labels)-1]
	return host, len(host) <= maxHost && strings.Trim(last, "0123456789") != ""
}

// Relays tells whether it is that of a TURN server.
func (u URI) Relays() bool { return u.Scheme == SchemeTURN || u.Scheme == SchemeTURNS }

// Secure tells whether the way to it is encrypted.
func (u URI) Secure() bool { return u.Scheme == SchemeTURNS || u.Scheme == SchemeSTUNS }

// HostPort is what one connects to.
func (u URI) HostPort() string { return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port))) }

// String is the URI with nothing left out, as clients are told it.
func (u URI) String() string {
	s := string(u.Scheme) + ":" + u.HostPort()
	if u.Relays() {
		s += "?transport=" + string(u.Transport)
	}
	return s
}
