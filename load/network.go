package load

import (
	"errors"
	"net"
	"net/http"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/webrtc/v4"
)

// maxNACKs is how often a packet is asked for. Pion does not notice that it came
// as a retransmission, and would ask until it is 512 packets old.
const maxNACKs = 10

// iceRequests is how often a client asks while it connects, five times a second.
// Browsers go on for half a minute, Pion stops after one and a half seconds.
const iceRequests = 150

// uriAudioLevel is the header extension of RFC 6464.
const uriAudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

// Network is how a client reaches its nodes.
type Network struct {
	IP      net.IP       // its own address; nil: that of loopback
	Any     bool         // all addresses of the machine, as browsers do
	TCP     bool         // all addresses, and by TCP only
	Relays  *Relays      // only by those; nil: none
	HTTP    *http.Client // for the WebSocket; nil: that of the library
	Loss    *Loss        // nil: none of our own making
	Traffic *Traffic     // nil: nobody counts
}

// Relays are TURN servers, by URI, with what opens them.
type Relays struct {
	URIs               []string
	Username, Password string
}

// configuration of a connection.
func (n Network) configuration() webrtc.Configuration {
	if n.Relays == nil {
		return webrtc.Configuration{}
	}
	return webrtc.Configuration{
		ICEServers:         []webrtc.ICEServer{{URLs: n.Relays.URIs, Username: n.Relays.Username, Credential: n.Relays.Password}},
		ICETransportPolicy: webrtc.ICETransportPolicyRelay,
	}
}

// chosen tells whether one address is used, and no other.
func (n Network) chosen() bool { return !n.Any && !n.TCP && n.Relays == nil }

// own is the client's address.
func (n Network) own() net.IP {
	if n.IP == nil {
		return net.IPv4(127, 0, 0, 1)
	}
	return n.IP
}

// api sets Pion up as a browser is: all codecs, retransmission, reports,
// transport-wide feedback. The mux is for one connection, as it tells
// connections apart by the other side's address, and a node has only one.
func (n Network) api(mux ice.UDPMux) (*webrtc.API, error) {
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	if err := media.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uriAudioLevel}, webrtc.RTPCodecTypeAudio); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if n.Loss != nil {
		interceptors.Add(n.Loss)
	}
	err := webrtc.RegisterDefaultInterceptorsWithOptions(media, interceptors,
		webrtc.WithNackGeneratorOptions(nack.GeneratorMaxNacksPerPacket(maxNACKs)))
	if err != nil {
		return nil, err
	}
	var s webrtc.SettingEngine
	switch {
	case n.TCP:
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6})
	case n.Any, n.Relays != nil:
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6})
	default:
		s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
		s.SetIPFilter(n.own().Equal)
	}
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetICEMaxBindingRequests(iceRequests)
	if mux != nil {
		s.SetICEUDPMux(mux)
	}
	return webrtc.NewAPI(
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
		webrtc.WithSettingEngine(s),
	), nil
}

// socketBuffer is asked of the kernel, which may give less: what comes while
// the process of the load is not scheduled should wait, not be lost.
const socketBuffer = 4 << 20

// connection makes one, and what ends its socket; without a chosen address the sockets
// are the library's.
func (n Network) connection() (pc *webrtc.PeerConnection, hangUp func() error, err error) {
	var mux ice.UDPMux
	hangUp = func() error { return nil }
	if n.chosen() {
		if mux, err = n.mux(); err != nil {
			return nil, nil, err
		}
		hangUp = mux.Close
	}
	api, err := n.api(mux)
	if err == nil {
		pc, err = api.NewPeerConnection(n.configuration())
	}
	if err != nil {
		return nil, nil, errors.Join(err, hangUp())
	}
	return pc, hangUp, nil
}

// mux opens the socket of a connection.
func (n Network) mux() (ice.UDPMux, error) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: n.own()})
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadBuffer(socketBuffer)  // a smaller one works as well
	_ = conn.SetWriteBuffer(socketBuffer) // see above
	if n.Traffic != nil {
		return webrtc.NewICEUDPMux(nil, &counted{PacketConn: conn, traffic: n.Traffic}), nil
	}
	return webrtc.NewICEUDPMux(nil, conn), nil
}
