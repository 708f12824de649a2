package imports

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/talkd/talkd/turn"
)

// relay is what a file of coturn says of the server that goes on beside talkd.
type relay struct {
	secrets      []setting
	users        setting // credentials that are no shared secret
	hosts        []setting
	port         setting
	noUDP, noTCP bool
	noTLS, cert  bool
	seen         bool
}

// turnServers takes those that the signaling server handed out credentials for.
func (d *draft) turnServers(s setting) error {
	for _, text := range list(s.value) {
		u, err := turn.ParseURI(text)
		to := &d.Config.TURN.Servers
		if err == nil && !u.Relays() {
			to = &d.Config.TURN.STUN
		}
		switch {
		case err != nil:
			d.notTaken(s, "one of them is not written as turn:turn.example.org:3478?transport=udp")
		case len(*to) == turn.MaxServers:
			d.notTaken(s, fmt.Sprintf("more than %d of them; clients ask each one", turn.MaxServers))
		case !slices.Contains(*to, u.String()):
			*to = append(*to, u.String())
		}
	}
	return nil
}

func (d *draft) coturnSecret(s setting) error {
	d.coturn.secrets = append(d.coturn.secrets, s)
	return nil
}

// coturnHost has an address of the server, in external-ip perhaps with the private one behind it.
func (d *draft) coturnHost(s setting) error {
	s.value, _, _ = strings.Cut(s.value, "/")
	d.coturn.hosts = append(d.coturn.hosts, s)
	return nil
}

// coturnFlag notes what is switched on, if it is.
func coturnFlag(field func(*relay) *bool) rule {
	return take(func(d *draft, s setting) error {
		on, err := truth(s)
		if err == nil {
			*field(&d.coturn) = on
		}
		return err
	})
}

// relays puts together what files of coturn and of the signaling server say of TURN. What
// the latter has is what was in use.
func (d *draft) relays() {
	c, to := &d.coturn, &d.Config.TURN
	if to.Secret != "" || len(to.Servers) > 0 || c.seen {
		d.toDo("talkd is no TURN server: the one of before goes on; people of Nextclouds get it from there (settings of Talk), and talkd doctor looks at it")
	}
	if !c.seen {
		return
	}
	for i, s := range c.secrets {
		switch {
		case to.Secret == "" && i == 0:
			to.Secret = s.value
		case to.Secret != s.value:
			d.notTaken(s, "there is one already; all TURN servers share one secret")
		}
	}
	if to.Secret == "" && c.users.value != "" {
		d.notTaken(c.users, "credentials are made of a shared secret, not of users with passwords: set use-auth-secret and static-auth-secret there, and turn.secret here")
	}
	if len(to.Servers) > 0 || to.Secret == "" {
		return
	}
	d.coturnURIs()
}

// coturnURIs names the server by an address that others reach. By TLS it wants a name.
func (d *draft) coturnURIs() {
	c, to := &d.coturn, &d.Config.TURN
	port := c.port.value
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		if port != "" {
			d.notTaken(c.port, "no port between 1 and 65535")
		}
		port = "3478"
	}
	for _, h := range c.hosts {
		a, err := netip.ParseAddr(h.value)
		if err != nil || a.IsUnspecified() || a.IsLoopback() || a.Zone() != "" || a.IsPrivate() && len(c.hosts) > 1 || len(to.Servers)+2 > turn.MaxServers {
			continue
		}
		for _, transport := range []turn.Transport{turn.UDP, turn.TCP} {
			if c.noUDP && transport == turn.UDP || c.noTCP && transport == turn.TCP {
				continue
			}
			u, err := turn.ParseURI("turn:" + net.JoinHostPort(a.String(), port) + "?transport=" + string(transport))
			if err == nil && !slices.Contains(to.Servers, u.String()) {
				to.Servers = append(to.Servers, u.String())
			}
		}
	}
	if len(to.Servers) == 0 {
		d.toDo("turn.servers: the URIs of coturn, as Nextcloud has them, e.g. turn:turn.example.org:3478?transport=udp")
	}
	if c.cert && !c.noTLS {
		d.toDo("turn.servers: the way by TLS too, by the name in the certificate of coturn, e.g. turns:turn.example.org:5349?transport=tcp")
	}
}
