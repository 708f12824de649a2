package backend

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/net/idna"

	"github.com/talkd/talkd/store"
)

// Instance is a Nextcloud as the operator configures it.
type Instance struct {
	URL      string   // which it is known by
	MoreURLs []string // under which it is reached as well
	Secret   string
	Limits
}

// Limits of what the people of an instance may have; 0 is none of its own.
type Limits struct {
	Sessions         int // in the whole cluster
	MaxStreamBitrate int // bits per second of a camera
	MaxScreenBitrate int // and of a screen
}

// Registry knows the instances that are served. They may change at any time.
type Registry struct {
	known atomic.Pointer[instances]
}

// instances are replaced as a whole.
type instances struct {
	byID map[store.BackendID]*instance
	// ordered has the longest paths first, so that an instance below another
	// one's path is found before it.
	ordered []*address
}

type instance struct {
	id        store.BackendID
	addresses []*address // the first one names it
	secret    []byte
	limits    Limits
}

// address is a base URL of an instance. Each may be reached, or not, by itself.
type address struct {
	of      *instance
	base    *url.URL // normalised, no slash at the end
	breaker *breaker
}

// at is the address with that base URL; the first one, if there is none (any more).
func (in *instance) at(via string) *address {
	for _, a := range in.addresses {
		if a.base.String() == via {
			return a
		}
	}
	return in.addresses[0]
}

// NewRegistry checks the configuration.
func NewRegistry(configured []Instance) (*Registry, error) {
	r := &Registry{}
	r.known.Store(&instances{})
	return r, r.Set(configured)
}

// Set makes these the instances that are served. If they are not valid, nothing
// changes.
func (r *Registry) Set(configured []Instance) error {
	before := r.known.Load()
	breakers := make(map[string]*breaker, len(before.ordered))
	for _, a := range before.ordered {
		breakers[a.base.String()] = a.breaker
	}
	now := &instances{byID: make(map[store.BackendID]*instance, len(configured))}
	taken := make(map[string]bool)
	for _, c := range configured {
		in := &instance{secret: []byte(c.Secret), limits: c.Limits}
		for _, text := range c.urls() {
			base, err := normalise(text)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrConfig, err)
			}
			if taken[base.String()] {
				return fmt.Errorf("%w: %s is there twice", ErrConfig, base.Redacted())
			}
			taken[base.String()] = true
			a := &address{of: in, base: base, breaker: breakers[base.String()]}
			if a.breaker == nil {
				a.breaker = newBreaker()
			}
			in.addresses = append(in.addresses, a)
		}
		first := in.addresses[0].base
		if c.Secret == "" {
			return fmt.Errorf("%w: %s has no secret", ErrConfig, first.Redacted())
		}
		in.id = idOf(first)
		now.byID[in.id] = in
		now.ordered = append(now.ordered, in.addresses...)
	}
	slices.SortStableFunc(now.ordered, func(a, b *address) int { return len(b.base.Path) - len(a.base.Path) })
	r.known.Store(now)
	return nil
}

func (c Instance) urls() []string { return append([]string{c.URL}, c.MoreURLs...) }

// Normalise is the base URL as all nodes write it, for what is kept.
func Normalise(rawURL string) (string, error) {
	base, err := normalise(rawURL)
	if err != nil {
		return "", err
	}
	return base.String(), nil
}

// IDOf is the id of the instance that is known by a base URL, also if it is not served.
func IDOf(rawURL string) (store.BackendID, error) {
	base, err := normalise(rawURL)
	if err != nil {
		return "", err
	}
	return idOf(base), nil
}

// Limits of an instance. One that is not served any more has none.
func (r *Registry) Limits(id store.BackendID) Limits {
	if in := r.known.Load().byID[id]; in != nil {
		return in.limits
	}
	return Limits{}
}

// Resolve finds the instance of a URL that a client or an instance gave: the
// same origin, and a path at or below a configured one.
func (r *Registry) Resolve(rawURL string) (store.BackendID, error) {
	a, err := r.resolve(rawURL)
	if err != nil {
		return "", err
	}
	return a.of.id, nil
}

// Via is by which of its base URLs a client or an instance that gave a URL has come;
// empty for the first one, and for those of nobody.
func (r *Registry) Via(rawURL string) string {
	a, err := r.resolve(rawURL)
	if err != nil || a == a.of.addresses[0] {
		return ""
	}
	return a.base.String()
}

// HasOrigin tells whether the pages of an origin are those of an instance.
func (r *Registry) HasOrigin(origin string) bool {
	u, err := normalise(origin)
	return err == nil && slices.ContainsFunc(r.known.Load().ordered, func(a *address) bool {
		return u.Scheme == a.base.Scheme && u.Host == a.base.Host
	})
}

// Len says how many instances are served.
func (r *Registry) Len() int { return len(r.known.Load().byID) }

// IDs are those of the instances that are served.
func (r *Registry) IDs() []store.BackendID {
	return slices.Collect(maps.Keys(r.known.Load().byID))
}

// givenUp counts those that do not answer, at any of their URLs.
func (r *Registry) givenUp() (n float64) {
	for _, in := range r.known.Load().byID {
		if slices.ContainsFunc(in.addresses, func(a *address) bool { return a.breaker.open() }) {
			n++
		}
	}
	return n
}

// URL is the base URL of an instance by which somebody came; empty if there is none.
func (r *Registry) URL(id store.BackendID, via string) string {
	a, err := r.get(id, via)
	if err != nil {
		return ""
	}
	return a.base.String() + "/"
}

// Only is the instance if there is just one.
func (r *Registry) Only() (store.BackendID, bool) {
	in := r.known.Load().only()
	if in == nil {
		return "", false
	}
	return in.id, true
}

func (known *instances) only() *instance {
	if len(known.byID) != 1 {
		return nil
	}
	return known.ordered[0].of
}

// VerifyRequest finds out which instance sent a request with this body, and
// whether it really did.
func (r *Registry) VerifyRequest(h http.Header, body []byte) (store.BackendID, error) {
	in, err := r.sender(h.Get(HeaderBackend))
	if err != nil {
		return "", err
	}
	if !VerifyChecksum(in.secret, h.Get(HeaderRandom), body, h.Get(HeaderChecksum)) {
		return "", ErrChecksum
	}
	return in.id, nil
}

// sender finds the instance of a header. Instances of old do not send it; that
// is unambiguous as long as there is only one.
func (r *Registry) sender(header string) (*instance, error) {
	if in := r.known.Load().only(); header == "" && in != nil {
		return in, nil
	}
	a, err := r.resolve(header)
	if err != nil {
		return nil, err
	}
	return a.of, nil
}

func (r *Registry) resolve(rawURL string) (*address, error) {
	u, err := normalise(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownBackend, err)
	}
	for _, a := range r.known.Load().ordered {
		if u.Scheme == a.base.Scheme && u.Host == a.base.Host && below(u.Path, a.base.Path) {
			return a, nil
		}
	}
	return nil, ErrUnknownBackend
}

// get is where an instance is asked about somebody who came by one of its URLs.
func (r *Registry) get(id store.BackendID, via string) (*address, error) {
	in, ok := r.known.Load().byID[id]
	if !ok {
		return nil, ErrUnknownBackend
	}
	return in.at(via), nil
}

// below tells whether p is base or lies under it, at the border of a segment.
func below(p, base string) bool {
	rest, ok := strings.CutPrefix(p, base)
	return ok && (rest == "" || rest[0] == '/')
}

// idOf makes an id that every node makes of the same configuration, and that
// stays when the order of the configuration changes.
func idOf(base *url.URL) store.BackendID {
	h := sha256.Sum256([]byte(base.String()))
	return store.BackendID(hex.EncodeToString(h[:6]))
}

// maxURL is the longest URL that is looked at.
const maxURL = 2048

// errNotWritten is a URL that is none, or has more than that of a Nextcloud.
var errNotWritten = errors.New("the URL of a Nextcloud is the scheme https, a host and perhaps a path, no more")

// normalise makes URLs comparable. What could be read in two ways, such as
// encoded slashes or dots in a path, is refused rather than interpreted. Errors
// do not quote the URL: it comes from outside.
func normalise(rawURL string) (*url.URL, error) {
	if rawURL == "" || len(rawURL) > maxURL {
		return nil, fmt.Errorf("it has %d characters; 1 to %d are right", len(rawURL), maxURL)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errNotWritten
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, errNotWritten
	}
	host, err := normaliseHost(u)
	if err != nil {
		return nil, err
	}
	p := strings.TrimSuffix(u.Path, "/")
	if u.RawPath != "" || p != "" && path.Clean(p) != p {
		return nil, fmt.Errorf("its path is not clean; write it without dots, escapes and double slashes")
	}
	return &url.URL{Scheme: u.Scheme, Host: host, Path: p}, nil
}

func normaliseHost(u *url.URL) (string, error) {
	name, port := u.Hostname(), u.Port()
	if name == "" {
		return "", errNotWritten
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.Unmap().String()
	} else if name, err = idna.Lookup.ToASCII(name); err != nil {
		return "", fmt.Errorf("its host is not the name of one")
	}
	switch u.Scheme {
	case "https":
		if port == "443" {
			port = ""
		}
	case "http":
		if !isLoopback(name) {
			return "", fmt.Errorf("plain HTTP is for loopback only; use https")
		}
		if port == "80" {
			port = ""
		}
	default:
		return "", errNotWritten
	}
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if port != "" {
		name += ":" + port
	}
	return name, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
