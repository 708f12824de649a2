package imports

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/talkd/talkd/node/config"
)

// draft is a configuration in the making: what needs several settings, or the last of them, is done at
// the end.
type draft struct {
	Result
	plain, tls, cert, key setting   // listeners
	proxies               bool      // which proxies are trusted was said
	listed, hosts         setting   // Nextclouds by section, and by host as files of long ago have them
	secret                string    // of those without one of their own
	limits                []setting // of those by host
	rest                  []setting // of signaling servers, with no rule: also the sections of Nextclouds
	video, screen         int
	coturn                relay
}

// dataDir is where services keep their state, and where the unit in deploy/ lets talkd
// write.
const dataDir = "/var/lib/talkd"

func newDraft() *draft {
	d := new(draft)
	d.Config = config.Default()
	d.Config.Node.Data = dataDir
	d.Config.Signaling.Embedded = false // people have accounts in their Nextcloud
	d.Config.Media.Listen = "0.0.0.0:8084"
	return d
}

func (d *draft) notTaken(s setting, reason string) {
	d.NotTaken = append(d.NotTaken, fmt.Sprintf("%v: %s", s, reason))
}

func (d *draft) notNeeded(s setting, reason string) {
	d.NotNeeded = append(d.NotNeeded, fmt.Sprintf("%v: %s", s, reason))
}

func (d *draft) toDo(what string) {
	if !slices.Contains(d.ToDo, what) {
		d.ToDo = append(d.ToDo, what)
	}
}

// take goes through the settings of one file.
func (d *draft) take(k kind, settings []setting) error {
	rules := rules(k)
	d.coturn.seen = d.coturn.seen || k == coturn
	for _, s := range settings {
		r, ok := find(rules, s)
		switch {
		case !ok && k == signalingServer:
			d.rest = append(d.rest, s)
		case !ok:
			d.notTaken(s, "not known")
		case r.take != nil:
			if err := r.take(d, s); err != nil {
				return err
			}
		case r.need:
			d.notTaken(s, r.reason)
		default:
			d.notNeeded(s, r.reason)
		}
	}
	if k != signalingServer {
		return nil
	}
	d.listeners()
	return d.nextclouds()
}

// finish says what is left to the operator.
func (d *draft) finish(publicURL string) Result {
	c := &d.Config
	if d.video > 0 {
		c.Media.MaxVideoBitrate = d.video
	}
	if d.screen > 0 {
		c.Media.MaxScreenBitrate = d.screen
	}
	d.relays()
	check := *c
	if check.HTTP.PublicURL = publicURL; publicURL == "" {
		check.HTTP.PublicURL = "https://talk.invalid"
		d.toDo("http.public_url: the URL of this server as Nextcloud has it, e.g. https://talk.example.org (--public-url URL)")
	}
	c.HTTP.PublicURL = publicURL
	if err := errors.Join(check.Complete(), check.Validate()); err != nil {
		d.toDo(err.Error())
	}
	d.toDo("open the port of media.listen for UDP and TCP, from everywhere")
	if len(c.Signaling.Backends) == 0 {
		d.toDo("no Nextcloud is named: talkd backend add URL --secret-file FILE, when the node runs")
	}
	return d.Result
}

// listeners: talkd has one for clients.
func (d *draft) listeners() {
	h := &d.Config.HTTP
	listen := d.plain
	if d.tls.value != "" {
		listen = d.tls
		h.TLSCert, h.TLSKey = d.cert.value, d.key.value
		if d.plain.value != "" {
			d.notTaken(d.plain, "talkd has one listener for clients, and takes that for https; if a reverse proxy comes to this one, write it into http.listen and leave out the certificate")
		}
	} else {
		for _, s := range []setting{d.cert, d.key} {
			if s.value != "" {
				d.notNeeded(s, "there is no listener for https")
			}
		}
	}
	if listen.value == "" {
		return
	}
	h.Listen = listen.value
	d.toDo(fmt.Sprintf("http.listen: %s is that of the server before, which must be stopped first; or take another port, and let the reverse proxy come there", h.Listen))
	if d.proxies {
		return
	}
	if config.Loopback(h.Listen) {
		h.TrustedProxies = []string{"127.0.0.0/8", "::1/128"}
		return
	}
	d.toDo("http.trusted_proxies: the reverse proxy, if there is one; those in private networks were trusted without being named, talkd trusts those that are named")
}

// nextclouds takes the sections that "backends" lists.
func (d *draft) nextclouds() error {
	for _, id := range list(d.listed.value) {
		b, found := config.Backend{Secret: d.secret}, false
		for i, s := range d.rest {
			if s.section != strings.ToLower(id) {
				continue
			}
			if err := d.nextcloud(&b, s); err != nil {
				return err
			}
			d.rest[i].section, found = "", true // taken
		}
		if !found {
			return fmt.Errorf("%v: names %q, of which there is no section", d.listed, id)
		}
		d.add(b)
	}
	for _, host := range list(d.hosts.value) {
		b := config.Backend{URL: "https://" + host, Secret: d.secret}
		for _, s := range d.limits {
			if err := d.nextcloud(&b, s); err != nil {
				return err
			}
		}
		d.add(b)
	}
	if d.hosts.value == "" {
		for _, s := range d.limits {
			d.notNeeded(s, "it was for hosts of allowed only")
		}
	} else {
		d.notTaken(d.hosts, "each host is a Nextcloud of its own now, and they share no rooms")
	}
	for _, s := range d.rest {
		if s.section != "" {
			d.notTaken(s, "not known, and no section of a Nextcloud that \"backends\" lists")
		}
	}
	d.listed, d.hosts, d.limits, d.rest = setting{}, setting{}, nil, nil // there may be another file
	return nil
}

// limit is one of all Nextclouds by host.
func (d *draft) limit(s setting) error {
	d.limits = append(d.limits, s)
	return nil
}

// nextcloud takes a setting of one.
func (d *draft) nextcloud(b *config.Backend, s setting) error {
	switch s.key {
	case "url", "urls":
		urls := list(s.value)
		if len(urls) == 0 {
			return fmt.Errorf("%v: no URL", s)
		}
		b.URL, b.MoreURLs = urls[0], nil
		if len(urls) > 1 {
			b.MoreURLs = urls[1:]
		}
	case "secret":
		if s.value != "" {
			b.Secret = s.value
		}
	case "sessionlimit":
		return number(&b.MaxSessions, s)
	case "maxstreambitrate":
		return number(&b.MaxVideoBitrate, s)
	case "maxscreenbitrate":
		return number(&b.MaxScreenBitrate, s)
	default:
		d.notTaken(s, "not known")
	}
	return nil
}

// add leaves out what talkd would refuse: a node with it would not start.
func (d *draft) add(b config.Backend) {
	if err := b.Validate(); err != nil {
		d.toDo(fmt.Sprintf("a Nextcloud was left out, %s: %v", redacted(b.URL), err))
		return
	}
	same := func(o config.Backend) bool { return strings.TrimRight(o.URL, "/") == strings.TrimRight(b.URL, "/") }
	if slices.ContainsFunc(d.Config.Signaling.Backends, same) {
		return // servers of one cluster have the same
	}
	d.Config.Signaling.Backends = append(d.Config.Signaling.Backends, b)
}

// redacted is a URL without the password that somebody may have written into it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a URL that cannot be read"
	}
	return u.Redacted()
}

func (d *draft) backendType(s setting) error {
	if s.value != "static" {
		d.notTaken(s, noEtcd+"; add each Nextcloud by talkd backend add")
	}
	return nil
}

func (d *draft) trustedProxies(s setting) error {
	d.proxies = d.proxies || s.value != ""
	return networks(&d.Config.HTTP.TrustedProxies, s)
}

func (d *draft) statsFrom(s setting) error { return networks(&d.Config.Signaling.StatsFrom, s) }

// maxEgress: proxies have it in Mbit/s.
func (d *draft) maxEgress(s setting) error {
	var mbits int
	if err := number(&mbits, s); err != nil {
		return err
	}
	if mbits > 1_000_000 {
		return fmt.Errorf("%v: more than 1000000 Mbit/s", s)
	}
	d.Config.Media.MaxEgress = mbits * 1_000_000
	return nil
}

// advertise takes addresses under which clients reach this node.
func (d *draft) advertise(s setting) error {
	for _, text := range list(s.value) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			d.notTaken(s, "media.advertise takes addresses, no names")
			continue
		}
		if a := ip.String(); !slices.Contains(d.Config.Media.Advertise, a) {
			d.Config.Media.Advertise = append(d.Config.Media.Advertise, a)
		}
	}
	return nil
}

// externalIP has the private address behind the public one.
func (d *draft) externalIP(s setting) error {
	if err := d.coturnHost(s); err != nil {
		return err
	}
	s.value, _, _ = strings.Cut(s.value, "/")
	return d.advertise(s)
}

// list takes a value apart at its commas.
func list(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// networks adds those of s; addresses are networks of one.
func networks(to *[]string, s setting) error {
	for _, text := range list(s.value) {
		p, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); err != nil && ipErr == nil {
			p, err = ip.WithZone("").Prefix(ip.BitLen())
		}
		if err != nil {
			return fmt.Errorf("%v: neither addresses nor networks such as 10.0.0.0/8", s)
		}
		if network := p.String(); !slices.Contains(*to, network) {
			*to = append(*to, network)
		}
	}
	return nil
}

func number(n *int, s setting) error {
	v, err := strconv.ParseUint(s.value, 10, 31)
	if err != nil {
		return fmt.Errorf("%v: no number, or one that is too large", s)
	}
	*n = int(v)
	return nil
}

// lower keeps the lower of two limits; 0 is none.
func lower(limit *int, s setting) error {
	var n int
	if err := number(&n, s); err != nil {
		return err
	}
	if n > 0 && (*limit == 0 || n < *limit) {
		*limit = n
	}
	return nil
}

func truth(s setting) (bool, error) {
	switch strings.ToLower(s.value) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0", "":
		return false, nil
	}
	return false, fmt.Errorf("%v: neither true nor false", s)
}
