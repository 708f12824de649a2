package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/turn"
)

// ErrInvalid is wrapped by each complaint of Validate.
var ErrInvalid = errors.New("invalid configuration")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// Validate says what is wrong, and what would be right.
func (c *Config) Validate() error {
	for _, check := range []func() error{c.checkNode, c.checkAddresses, c.checkSecrets, c.checkLimits} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkNode() error {
	if _, err := store.ParseNodeID(c.Node.ID); err != nil {
		return invalid("node.id: %v", err)
	}
	has := func(role string) bool { return slices.Contains(c.Node.Roles, role) }
	for _, r := range c.Node.Roles {
		if !slices.Contains(roles, r) {
			return invalid("node.roles: unknown role %q, known are %s", r, strings.Join(roles, ", "))
		}
	}
	switch {
	case len(c.Node.Roles) == 0:
		return invalid("node.roles: none; leave the key out for all of %s", strings.Join(roles, ", "))
	case has(store.RoleSignaling) && !has(store.RoleMedia):
		return invalid("node.roles: signaling needs media: people send and receive where their socket is")
	case !has(store.RoleServer) && c.Cluster.Expect > 0:
		return invalid("cluster.expect: the first node of a cluster needs the role server")
	}
	if c.Node.DrainTimeout < 0 {
		return invalid("node.drain_timeout: %v is less than nothing; 0 stops at once", c.Node.DrainTimeout)
	}
	return nil
}

func (c *Config) checkAddresses() error {
	for key, addr := range map[string]string{
		"http.listen": c.HTTP.Listen, "admin.listen": c.Admin.Listen, "cluster.listen": c.Cluster.Listen,
		"cluster.gossip_listen": c.Cluster.GossipListen, "media.listen": c.Media.Listen, "relay.listen": c.Relay.Listen,
	} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return invalid("%s: %q is not host:port", key, addr)
		}
		if c.Node.Dev && !Loopback(addr) {
			return invalid("%s: %q is not loopback; development nodes listen on loopback only", key, addr)
		}
	}
	for key, addr := range map[string]string{
		"cluster.advertise": c.Cluster.Advertise, "cluster.gossip_advertise": c.Cluster.GossipAdvertise, "relay.advertise": c.Relay.Advertise,
	} {
		host, port, err := net.SplitHostPort(addr)
		if ip, ipErr := netip.ParseAddr(host); err != nil || host == "" || port == "" || port == "0" || (ipErr == nil && ip.IsUnspecified()) {
			return invalid("%s: %q is no address that other nodes can reach; say --advertise IP", key, addr)
		}
	}
	if err := CheckPublicURL(c.HTTP.PublicURL); err != nil {
		return invalid("http.public_url: %v", err)
	}
	if _, err := c.HTTP.Proxies(); err != nil {
		return err
	}
	if _, err := c.Signaling.Readers(); err != nil {
		return err
	}
	if _, _, err := c.Media.Candidates(); err != nil {
		return err
	}
	if _, err := c.Signaling.FederationPrefixes(); err != nil {
		return err
	}
	if (c.HTTP.TLSCert == "") != (c.HTTP.TLSKey == "") || (c.Admin.TLSCert == "") != (c.Admin.TLSKey == "") {
		return invalid("tls_cert and tls_key come together")
	}
	if !Loopback(c.Admin.Listen) && c.Admin.TLSCert == "" {
		return invalid("admin.listen: %q is not loopback; give admin.tls_cert and admin.tls_key, or use 127.0.0.1", c.Admin.Listen)
	}
	return nil
}

func (c *Config) checkSecrets() error {
	for i, b := range c.Signaling.Backends {
		if err := b.Validate(); err != nil {
			return invalid("signaling.backends[%d]: %v", i, err)
		}
	}
	for _, s := range []struct{ key, value, others string }{
		{"signaling.internal_secret", c.Signaling.InternalSecret, "the SIP bridge and the recording server"},
		{"turn.secret", c.TURN.Secret, "the TURN server (coturn: static-auth-secret) and Nextcloud (settings of Talk)"},
		{"turn.api_key", c.TURN.APIKey, "the services that ask for TURN credentials"},
	} {
		if slices.Contains(sampleSecrets, s.value) || s.value != "" && !c.Node.Dev && len(s.value) < minSecret {
			return invalid("%s: a sample value, or shorter than %d; make one with: openssl rand -hex 32, and give it to %s too", s.key, minSecret, s.others)
		}
	}
	if _, err := c.TURN.Parse(); err != nil {
		return err
	}
	if name, password, ok := strings.Cut(c.Accounts.InitUser, ":"); c.Accounts.InitUser != "" && (!ok || name == "" || password == "") {
		return invalid("accounts.init_user: NAME:PASSWORD wanted")
	}
	return nil
}

func (c *Config) checkLimits() error {
	if c.Cluster.Voters != 3 && c.Cluster.Voters != 5 {
		return invalid("cluster.voters: %d is neither 3 nor 5", c.Cluster.Voters)
	}
	if c.Cluster.Expect < 0 || c.Cluster.Expect > 64 {
		return invalid("cluster.expect: %d is not between 0 and 64", c.Cluster.Expect)
	}
	if c.Media.MaxEgress < 0 {
		return invalid("media.max_egress: %d is less than nothing; 0 is no limit", c.Media.MaxEgress)
	}
	if c.Signaling.MaxSessions < 1 {
		return invalid("signaling.max_sessions: %d is less than one", c.Signaling.MaxSessions)
	}
	if c.Media.MaxVideoBitrate < 50_000 || c.Media.MaxScreenBitrate < 50_000 {
		return invalid("media: bitrates are in bit/s, at least 50000")
	}
	if c.Media.Loudest < 0 {
		return invalid("media.loudest: %d is less than none; 0 is all", c.Media.Loudest)
	}
	if a := c.Media.AES256; a != AES256Prefer && a != AES256Require {
		return invalid("media.aes256: %q is neither prefer nor require", a)
	}
	if c.Signaling.HelloTimeout <= 0 || c.Signaling.ResumeTimeout <= 0 {
		return invalid("signaling: timeouts must be positive, e.g. 30s")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		return invalid("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return invalid("log.format: %q is neither text nor json", c.Log.Format)
	}
	return nil
}

// minSecret keeps a secret that opens every room from being guessed.
const minSecret = 16

// sampleSecrets are the ones of documentation and of other servers' samples.
var sampleSecrets = []string{"secret", "changeme", "the-shared-secret", "the-shared-secret-for-allowall", "the-shared-secret-for-internal-clients", "my-secret", "password",
	"6d1c17a7-c736-4e22-b02c-e2955b7ecc64", "the-api-key-for-the-rest-service", "north", "logen"}

// Validate says what is wrong with a Nextcloud, and what would be right.
func (b Backend) Validate() error {
	for _, text := range append([]string{b.URL}, b.MoreURLs...) {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("url: %q is not http(s)://host[/path]", text)
		}
		if u.Scheme == "http" && !loopbackHost(u.Hostname()) {
			return fmt.Errorf("url: %q: plain HTTP only on loopback, use https", text)
		}
	}
	if b.Secret == "" {
		return fmt.Errorf("secret: missing for %q", b.URL)
	}
	if slices.Contains(sampleSecrets, b.Secret) {
		return fmt.Errorf("secret: a sample value; make one with: openssl rand -hex 32, and enter it in Nextcloud too")
	}
	if b.MaxSessions < 0 || b.MaxVideoBitrate < 0 || b.MaxScreenBitrate < 0 {
		return errors.New("a limit is less than nothing; 0 is no limit")
	}
	return nil
}

// CheckPublicURL says what is wrong with the URL of a node.
func CheckPublicURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" {
		return fmt.Errorf("%q is not http(s)://host[:port]", text)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() == "" || (err == nil && ip.IsUnspecified()) {
		return fmt.Errorf("%q is no address that browsers can reach; say --public-url URL", text)
	}
	return nil
}

// Parse has the servers with their secret. Validate has read them before.
func (t TURN) Parse() (turn.Servers, error) {
	s := turn.Servers{Secret: t.Secret, Lifetime: t.Lifetime}
	var err error
	if s.TURN, err = turn.ParseTURN(t.Servers); err != nil {
		return s, invalid("turn.servers: %v", err)
	}
	if s.STUN, err = turn.ParseSTUN(t.STUN); err != nil {
		return s, invalid("turn.stun: %v", err)
	}
	if err := s.Validate(); err != nil {
		return s, invalid("turn.%v", err)
	}
	return s, nil
}

// Proxies are the networks of TrustedProxies. Validate has read them before.
func (h HTTP) Proxies() ([]netip.Prefix, error) {
	return networks("http.trusted_proxies", h.TrustedProxies)
}

// Readers are the networks of StatsFrom. Validate has read them before.
func (s Signaling) Readers() ([]netip.Prefix, error) {
	return networks("signaling.stats_from", s.StatsFrom)
}

// FederationPrefixes are the networks of FederationNetworks. Validate has read them
// before.
func (s Signaling) FederationPrefixes() ([]netip.Prefix, error) {
	return networks("signaling.federation_networks", s.FederationNetworks)
}

// Candidates are the networks of BlockedCandidates and AllowedCandidates. Validate has
// read them before.
func (m Media) Candidates() (blocked, allowed []netip.Prefix, err error) {
	if blocked, err = networks("media.blocked_candidates", m.BlockedCandidates); err != nil {
		return nil, nil, err
	}
	allowed, err = networks("media.allowed_candidates", m.AllowedCandidates)
	return blocked, allowed, err
}

func networks(key string, list []string) ([]netip.Prefix, error) {
	var parsed []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, invalid("%s: %q is no network such as 10.0.0.0/8", key, s)
		}
		if p.Addr().Is4In6() { // nobody's address is compared as one
			return nil, invalid("%s: %q is a network of IPv4; write it as 10.0.0.0/8", key, s)
		}
		parsed = append(parsed, p)
	}
	return parsed, nil
}

// Loopback tells whether an address "host:port" is reached from this machine only.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopbackHost(host)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
