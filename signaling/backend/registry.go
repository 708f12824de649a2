package backend

import (
	"crypto/sha256"
	"encoding/hex"
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
	URL    string
	Secret string
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
	ordered []*instance
}

type instance struct {
	id      store.BackendID
	base    *url.URL // normalised, no slash at the end
	secret  []byte
	limits  Limits
	breaker *breaker
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
	now := &instances{byID: make(map[store.BackendID]*instance, len(configured))}
	for _, c := range configured {
		base, err := normalise(c.URL)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if c.Secret == "" {
			return fmt.Errorf("%w: %s has no secret", ErrConfig, base.Redacted())
		}
		in := &instance{id: idOf(base), base: base, secret: []byte(c.Secret), limits: c.Limits, breaker: newBreaker()}
		if old := before.byID[in.id]; old != nil {
			in.breaker = old.breaker
		}
		if _, taken := now.byID[in.id]; taken {
			return fmt.Errorf("%w: %s is there twice", ErrConfig, base.Redacted())
		}
		now.byID[in.id] = in
		now.ordered = append(now.ordered, in)
	}
	slices.SortStableFunc(now.ordered, func(a, b *instance) int { return len(b.base.Path) - len(a.base.Path) })
	r.known.Store(now)
	return nil
}

// Normalise is the base URL as all nodes write it, for what is kept.
func Normalise(rawURL string) (string, error) {
	base, err := normalise(rawURL)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return base.String(), nil
}

// IDOf is the id of the instance of a base URL, also if it is not served.
func IDOf(rawURL string) (store.BackendID, error) {
	base, err := normalise(rawURL)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrConfig, err)
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
// same origin, and a path at or below the configured one.
func (r *Registry) Resolve(rawURL string) (store.BackendID, error) {
	in, err := r.resolve(rawURL)
	if err != nil {
		return "", err
	}
	return in.id, nil
}

// HasOrigin tells whether the pages of an origin are those of an instance.
func (r *Registry) HasOrigin(origin string) bool {
	u, err := normalise(origin)
	return err == nil && slices.ContainsFunc(r.known.Load().ordered, func(in *instance) bool {
		return u.Scheme == in.base.Scheme && u.Host == in.base.Host
	})
}

// Len says how many instances are served.
func (r *Registry) Len() int { return len(r.known.Load().ordered) }

// IDs are those of the instances that are served.
func (r *Registry) IDs() []store.BackendID {
	return slices.Collect(maps.Keys(r.known.Load().byID))
}

// givenUp counts those that do not answer.
func (r *Registry) givenUp() (n float64) {
	for _, in := range r.known.Load().ordered {
		if in.breaker.open() {
			n++
		}
	}
	return n
}

// URL is the base URL of an instance, as the operator gave it; empty if there is none.
func (r *Registry) URL(id store.BackendID) string {
	in := r.known.Load().byID[id]
	if in == nil {
		return ""
	}
	return in.base.String() + "/"
}

// Only is the instance if there is just one.
func (r *Registry) Only() (store.BackendID, bool) {
	known := r.known.Load()
	if len(known.ordered) != 1 {
		return "", false
	}
	return known.ordered[0].id, true
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
	if known := r.known.Load(); header == "" && len(known.ordered) == 1 {
		return known.ordered[0], nil
	}
	return r.resolve(header)
}

func (r *Registry) resolve(rawURL string) (*instance, error) {
	u, err := normalise(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownBackend, err)
	}
	for _, in := range r.known.Load().ordered {
		if u.Scheme == in.base.Scheme && u.Host == in.base.Host && below(u.Path, in.base.Path) {
			return in, nil
		}
	}
	return nil, ErrUnknownBackend
}

func (r *Registry) get(id store.BackendID) (*instance, error) {
	in, ok := r.known.Load().byID[id]
	if !ok {
		return nil, ErrUnknownBackend
	}
	return in, nil
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

// normalise makes URLs comparable. What could be read in two ways, such as
// encoded slashes or dots in a path, is refused rather than interpreted. Errors
// do not quote the URL: it comes from outside.
func normalise(rawURL string) (*url.URL, error) {
	if rawURL == "" || len(rawURL) > maxURL {
		return nil, fmt.Errorf("a URL of %d characters", len(rawURL))
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("not a URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("a URL with more than origin and path")
	}
	host, err := normaliseHost(u)
	if err != nil {
		return nil, err
	}
	p := strings.TrimSuffix(u.Path, "/")
	if u.RawPath != "" || p != "" && path.Clean(p) != p {
		return nil, fmt.Errorf("a path that is not clean")
	}
	return &url.URL{Scheme: u.Scheme, Host: host, Path: p}, nil
}

func normaliseHost(u *url.URL) (string, error) {
	name, port := u.Hostname(), u.Port()
	if name == "" {
		return "", fmt.Errorf("a URL without a host")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		name = ip.Unmap().String()
	} else if name, err = idna.Lookup.ToASCII(name); err != nil {
		return "", fmt.Errorf("not a host name")
	}
	switch u.Scheme {
	case "https":
		if port == "443" {
			port = ""
		}
	case "http":
		if !isLoopback(name) {
			return "", fmt.Errorf("plain HTTP beyond loopback")
		}
		if port == "80" {
			port = ""
		}
	default:
		return "", fmt.Errorf("a scheme other than https")
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
