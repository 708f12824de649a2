package media

import (
	"net/netip"
	"time"

	"github.com/pion/webrtc/v4"
)

// Turn makes a connection send to another address of the other side, as when its
// pair of candidates changes.
func (s *Subscriber) Turn(protocol webrtc.ICEProtocol, to netip.AddrPort) {
	s.egress.follow(&webrtc.ICECandidatePair{
		Local:  &webrtc.ICECandidate{Protocol: protocol},
		Remote: &webrtc.ICECandidate{Protocol: protocol, Address: to.Addr().String(), Port: to.Port()},
	})
}

// Destination is where a connection sends to.
func (s *Subscriber) Destination() (protocol webrtc.ICEProtocol, to netip.AddrPort) {
	switch d := s.egress.to.Load(); {
	case d == nil:
		return webrtc.ICEProtocolUnknown, to
	case d.udp.IsValid():
		return webrtc.ICEProtocolUDP, d.udp
	default:
		return webrtc.ICEProtocolTCP, netip.MustParseAddrPort(d.tcp.String())
	}
}

// Patience replaces the bounds of connections that are made from now on.
func (e *Engine) Patience(silent, ended, keepalive time.Duration) {
	e.net.patience = patience{silent, ended}
	e.net.settings.SetICETimeouts(iceDisconnected, iceFailed, keepalive)
}
