package media_test

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/media/mediatest"
)

// sealedBy checks by whom the packets of the only subscriber are sealed.
func sealedBy(t *testing.T, registry *prometheus.Registry, path string) {
	t.Helper()
	for _, p := range []string{"direct", "library"} {
		want := 0.0
		if p == path {
			want = 1
		}
		if n := metric(t, registry, "talkd_media_sealed_connections_total", "path", p); n != want {
			t.Errorf("%v connections are sealed by way of %s", n, p)
		}
	}
}

// Whatever a client agrees upon, it can open everything: what is sent for the
// first time, and what is sent again in either way.
func TestClientsOpenEverything(t *testing.T) {
	t.Parallel()
	profiles := map[string]piondtls.SRTPProtectionProfile{
		"aes-256-gcm":     piondtls.SRTP_AEAD_AES_256_GCM,
		"aes-128-gcm":     piondtls.SRTP_AEAD_AES_128_GCM,
		"aes-128-cm-sha1": piondtls.SRTP_AES128_CM_HMAC_SHA1_80,
	}
	for name, o := range map[string]struct {
		profile string
		suite   piondtls.CipherSuiteID
		noRTX   bool
		server  bool // the client is the DTLS server
		tcp     bool
	}{
		"gcm 256":          {profile: "aes-256-gcm"},
		"gcm 128":          {profile: "aes-128-gcm"},
		"cm":               {profile: "aes-128-cm-sha1"},
		"sha-384":          {profile: "aes-256-gcm", suite: piondtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		"identical":        {profile: "aes-256-gcm", noRTX: true},
		"cm identical":     {profile: "aes-128-cm-sha1", noRTX: true},
		"tcp":              {profile: "aes-256-gcm", tcp: true},
		"server":           {profile: "aes-256-gcm", server: true},
		"server 128":       {profile: "aes-128-gcm", server: true},
		"server and tcp":   {profile: "aes-256-gcm", server: true, tcp: true},
		"server identical": {profile: "aes-256-gcm", server: true, noRTX: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := prometheus.NewRegistry()
			e := engine(t, media.Config{}, media.Deps{Registerer: registry})
			sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 40, Uneven: true})
			c, s := subscribe(t, e, mediatest.SubscriberConfig{
				Options: mediatest.Options{NoRTX: o.noRTX, Settings: func(s *webrtc.SettingEngine) {
					s.SetSRTPProtectionProfiles(profiles[o.profile])
					if o.suite != 0 {
						s.SetDTLSCipherSuites(o.suite)
					}
					if o.server {
						if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
							t.Error(err)
						}
					}
					if o.tcp {
						s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
					}
					if o.noRTX {
						// The second copy is what the replay protection of SRTP is against, unless
						// the first was lost on the way.
						s.DisableSRTPReplayProtection(true)
					}
				}},
				Drop: func(kind string, seq uint16) bool { return kind == media.Video && seq%7 == 0 },
			}, true, p.Publication())
			sender.Start()
			for _, kind := range []string{media.Audio, media.Video} {
				r := wait(t, c, kind, packets(60))
				for _, f := range r.Faults {
					t.Errorf("%s: %s", kind, f)
				}
			}
			path := "direct"
			if o.server {
				path = "library"
			}
			sealedBy(t, registry, path)
			if protocol, _ := s.Destination(); (protocol == webrtc.ICEProtocolTCP) != o.tcp {
				t.Errorf("sent by %v", protocol)
			}
			if n := metric(t, registry, "talkd_media_resent_packets_total"); n < 5 {
				t.Errorf("%v packets counted as sent again", n)
			}
		})
	}
}

var hostCandidate = regexp.MustCompile(`(?m)^a=(candidate:\S+ [12] (udp|tcp) \d+ (\S+) (\d+) typ host.*?)\r?$`)

// cut takes the candidates of a protocol out of a description.
func cut(t *testing.T, sdp, protocol string) (rest string, candidate string, addr netip.AddrPort) {
	t.Helper()
	rest = hostCandidate.ReplaceAllStringFunc(sdp, func(line string) string {
		m := hostCandidate.FindStringSubmatch(line)
		if m[2] != protocol {
			return line
		}
		candidate, addr = m[1], netip.MustParseAddrPort(m[3]+":"+m[4])
		return "a=cut"
	})
	if candidate == "" {
		t.Fatalf("no %s candidate in\n%s", protocol, sdp)
	}
	return strings.ReplaceAll(rest, "a=cut\r\n", ""), candidate, addr
}

// A connection whose pair turns from TCP to UDP and back loses nothing, and its
// packets are sealed as before.
func TestPairTurns(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	e := engine(t, media.Config{}, media.Deps{Registerer: registry})
	sender, p := publish(t, e, pubID("a", 1), mediatest.PublisherConfig{Audio: true, Video: true, Stream: 41})
	c, s, offer := offered(t, e, mediatest.SubscriberConfig{Options: mediatest.Options{Settings: func(s *webrtc.SettingEngine) {
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4})
	}}}, requestFor(p))
	// Neither side knows at first that there is UDP.
	offer, server, _ := cut(t, offer, "udp")
	answer, err := c.Answer(offer)
	if err != nil {
		t.Fatal(err)
	}
	answer, _, client := cut(t, answer, "udp")
	if err := s.Answer(answer); err != nil {
		t.Fatal(err)
	}
	if err := c.Connected(within(t)); err != nil {
		t.Fatal(err)
	}
	more := func() {
		t.Helper()
		for _, kind := range []string{media.Audio, media.Video} {
			have := c.Report(kind).Packets
			r := wait(t, c, kind, packets(have+30))
			for _, f := range r.Faults {
				t.Errorf("%s: %s", kind, f)
			}
		}
	}
	sender.Start()
	more()
	protocol, tcp := s.Destination()
	if protocol != webrtc.ICEProtocolTCP {
		t.Fatalf("sent by %v", protocol)
	}
	if err := c.PC().AddICECandidate(webrtc.ICECandidateInit{Candidate: server}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.Turn(webrtc.ICEProtocolUDP, client)
		more()
		s.Turn(webrtc.ICEProtocolTCP, tcp)
		more()
	}
	sealedBy(t, registry, "direct")
}
