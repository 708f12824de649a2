package imports

// rule is what becomes of a setting: it is taken, or there is a reason why not.
type rule struct {
	take   func(d *draft, s setting) error
	need   bool // without it something is missing
	reason string
}

// Reasons that several settings share.
const (
	ownKeys     = "talkd makes these keys itself and replaces them"
	oneProgram  = "media are in talkd, which has no other server to connect to"
	oneCluster  = "nodes find each other; start the others with what talkd join-token create prints"
	noEtcd      = "the nodes keep what they share themselves"
	regions     = "rooms are placed by node.region, addresses are not looked up"
	ownTimeouts = "talkd has its own bounds for requests to a Nextcloud"
	verified    = "certificates are always verified; add the authority to those of the system"
	ownTURN     = "coturn goes on, with this setting of its own"
	noLogins    = "only this node's own port carries media; there is no interface for others to protect"
	builtIn     = "talkd does without this setting"
)

func notNeeded(reason string) rule { return rule{reason: reason} }

func missing(reason string) rule { return rule{reason: reason, need: true} }

func take(f func(d *draft, s setting) error) rule { return rule{take: f} }

// onlyIfTrue: switched off it asks for nothing.
func onlyIfTrue(reason string) rule {
	return take(func(d *draft, s setting) error {
		on, err := truth(s)
		if err == nil && on {
			d.notTaken(s, reason)
		}
		return err
	})
}

// rules has for "section.key", or "section.*", what is done with it.
func rules(k kind) map[string]rule {
	both := map[string]rule{
		"app.debug":             notNeeded("profiles are at the admin listener, for its tokens only"),
		"app.trustedproxies":    take((*draft).trustedProxies),
		"mcu.type":              notNeeded(oneProgram),
		"mcu.url":               notNeeded(oneProgram),
		"mcu.maxstreambitrate":  take(func(d *draft, s setting) error { return lower(&d.video, s) }),
		"mcu.maxscreenbitrate":  take(func(d *draft, s setting) error { return lower(&d.screen, s) }),
		"mcu.allowedcandidates": take(func(d *draft, s setting) error { return networks(&d.Config.Media.AllowedCandidates, s) }),
		"mcu.blockedcandidates": take(func(d *draft, s setting) error { return networks(&d.Config.Media.BlockedCandidates, s) }),
		"stats.allowed_ips":     take((*draft).statsFrom),
		"etcd.*":                notNeeded(noEtcd),
		"http.readtimeout":      notNeeded(builtIn),
		"http.writetimeout":     notNeeded(builtIn),
	}
	own := map[kind]map[string]rule{
		signalingServer: {
			"geoip.*":                    notNeeded(regions),
			"geoip-overrides.*":          notNeeded(regions),
			"continent-overrides.*":      notNeeded(regions),
			"https.readtimeout":          notNeeded(builtIn),
			"https.writetimeout":         notNeeded(builtIn),
			"backend.skipverify":         onlyIfTrue(verified),
			"backend.allowhttp":          onlyIfTrue("a Nextcloud is asked by TLS, except on this machine"),
			"backend.sessionlimit":       take((*draft).limit),
			"backend.maxstreambitrate":   take((*draft).limit),
			"backend.maxscreenbitrate":   take((*draft).limit),
			"federation.skipverify":      onlyIfTrue(verified),
			"federation.timeout":         notNeeded(ownTimeouts),
			"app.allowsubscribeany":      onlyIfTrue("who is not in the call receives nothing of it"),
			"backend.allowall":           onlyIfTrue("only Nextclouds that are named are served: talkd backend add"),
			"backend.backendprefix":      notNeeded(noEtcd),
			"backend.backendtype":        take((*draft).backendType),
			"backend.connectionsperhost": notNeeded(ownTimeouts),
			"backend.timeout":            notNeeded(ownTimeouts),
			"http.listen":                take(func(d *draft, s setting) error { d.plain = s; return nil }),
			"https.listen":               take(func(d *draft, s setting) error { d.tls = s; return nil }),
			"https.certificate":          take(func(d *draft, s setting) error { d.cert = s; return nil }),
			"https.key":                  take(func(d *draft, s setting) error { d.key = s; return nil }),
			"sessions.*":                 notNeeded(ownKeys),
			"clients.internalsecret":     take(func(d *draft, s setting) error { d.Config.Signaling.InternalSecret = s.value; return nil }),
			"backend.backends":           take(func(d *draft, s setting) error { d.listed = s; return nil }),
			"backend.allowed":            take(func(d *draft, s setting) error { d.hosts = s; return nil }),
			"backend.secret":             take(func(d *draft, s setting) error { d.secret = s.value; return nil }),
			"nats.*":                     notNeeded("the nodes speak to each other"),
			"mcu.*":                      notNeeded(oneProgram),
			"turn.apikey":                take(func(d *draft, s setting) error { d.Config.TURN.APIKey = s.value; return nil }),
			"turn.secret":                take(func(d *draft, s setting) error { d.Config.TURN.Secret = s.value; return nil }),
			"turn.servers":               take((*draft).turnServers),
			"grpc.*":                     notNeeded(oneCluster),
		},
		mediaProxy: {
			"http.*":             notNeeded(oneProgram),
			"app.country":        take(func(d *draft, s setting) error { d.Config.Node.Region = s.value; return nil }),
			"app.*":              notNeeded(oneProgram),
			"tokens.*":           notNeeded("nodes know each other by certificates of the cluster's own"),
			"mcu.*":              notNeeded(oneProgram),
			"bandwidth.outgoing": take((*draft).maxEgress),
			"bandwidth.incoming": missing("what comes in is not limited by itself; placement goes by what the node measures"),
		},
		janus: {
			"nat.nat_1_1_mapping":   take((*draft).advertise),
			"nat.keep_private_host": onlyIfTrue("add the private addresses to media.advertise"),
			"nat.ice_enforce_list":  missing("media.listen takes one address"),
			"nat.ice_ignore_list":   missing("media.advertise names the addresses that clients are told"),
			"general.interface":     missing("media.listen takes one address"),
			"media.rtp_port_range":  notNeeded("all media go through the port of media.listen; open it for UDP and TCP, close the range"),
			"media.dscp":            missing("packets are not marked"),
			"nat.turn_server":       notNeeded("a node that clients reach needs no TURN server itself"),
			"nat.stun_server":       notNeeded("media.advertise names the addresses that clients are told"),
			"general.api_secret":    notNeeded(noLogins),
			"general.admin_secret":  notNeeded(noLogins),
			"certificates.*":        notNeeded("each node makes the certificate of its media itself"),
			"*":                     notNeeded(builtIn),
		},
		coturn: {
			"external-ip":        take((*draft).externalIP),
			"listening-ip":       take((*draft).coturnHost),
			"static-auth-secret": take((*draft).coturnSecret),
			"listening-port":     take(func(d *draft, s setting) error { d.coturn.port = s; return nil }),
			"user":               take(func(d *draft, s setting) error { d.coturn.users = s; return nil }),
			"lt-cred-mech":       take(func(d *draft, s setting) error { d.coturn.users = s; return nil }),
			"cert":               take(func(d *draft, s setting) error { d.coturn.cert = s.value != ""; return nil }),
			"no-udp":             coturnFlag(func(c *relay) *bool { return &c.noUDP }),
			"no-tcp":             coturnFlag(func(c *relay) *bool { return &c.noTCP }),
			"no-tls":             coturnFlag(func(c *relay) *bool { return &c.noTLS }),
			"no-auth":            onlyIfTrue("coturn relays for everybody, without credentials; let it want them (use-auth-secret)"),
			"use-auth-secret":    notNeeded("that is what talkd makes credentials for"),
			"realm":              notNeeded("the TURN server names it to clients itself"),
			"*":                  missing(ownTURN),
		},
	}[k]
	if k == signalingServer || k == mediaProxy {
		for name, r := range both {
			own[name] = r
		}
	}
	return own
}

// find looks for the rule of s, the narrowest first.
func find(rules map[string]rule, s setting) (rule, bool) {
	names := []string{s.section + "." + s.key, s.section + ".*", "*"}
	if s.section == "" {
		names[0] = s.key
	}
	for _, name := range names {
		if r, ok := rules[name]; ok {
			return r, true
		}
	}
	return rule{}, false
}
