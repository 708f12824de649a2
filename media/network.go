package media

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	piondtls "github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	pionice "github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	pionlog "github.com/pion/logging"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/packetio"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/webrtc/v4"

	"github.com/talkd/talkd/media/srtp"
	"github.com/talkd/talkd/media/udp"
)

const (
	// A connection without packets counts as disconnected, then as failed: mobile
	// clients change networks within that time.
	iceDisconnected = 5 * time.Second
	iceFailed       = 25 * time.Second
	iceKeepalive    = 2 * time.Second
	// iceRequests is how often the library asks an address while a connection is made,
	// five times a second: for as long as it tries, and not 1.6 s, after which it
	// would not even listen to a client that comes back. package udp holds back what
	// is asked of an address that is silent.
	iceRequests = 5 * int((iceDisconnected+iceFailed)/time.Second)

	// maxSCTPMessage is what publishers may send in one data-channel message.
	maxSCTPMessage = 64 << 10

	// tcpReadQueue is how many packets of a TCP connection wait to be read.
	tcpReadQueue = 64
	// tcpFirstPacket is how long a TCP connection may stay silent, or name nobody
	// who is here.
	tcpFirstPacket = 10 * time.Second

	// maxStreams bounds the SSRCs of a connection, each counted for RTP and for
	// RTCP: one for audio, three for video, three for their retransmissions, and
	// probes make 16. The buffers of each are in bytes.
	maxStreams = 64
	rtpBuffer  = 512 << 10
	rtcpBuffer = 32 << 10

	// certificateUse is how long a certificate is given to new connections; the
	// library makes them for a month.
	certificateUse = 24 * time.Hour
	// interfacesUse is for how long the machine's addresses are taken for known.
	interfacesUse = 5 * time.Second
)

// network is the engine's sockets, and the ways to make connections over them.
type network struct {
	addr      netip.AddrPort
	udp       *udp.Port
	tcp       *pionice.TCPMuxDefault
	acceptor  *acceptor    // of tcp
	burst     func() burst // an empty one, for flush
	metrics   *metrics
	patience  patience
	entrance  *entrance
	named     candidateNetworks    // by clients
	settings  webrtc.SettingEngine // copied for each connection
	cert      renewed[*webrtc.Certificate]
	addresses renewed[transport.Net]
}

func newNetwork(cfg Config, deps Deps, m *metrics) (*network, error) {
	port, tcp, err := listen(cfg.ListenUDP, deps)
	if err != nil {
		return nil, err
	}
	accepted := newAcceptor(tcp, m.dropped.WithLabelValues(dropStranger))
	n := &network{
		addr:     port.Addr(),
		udp:      port,
		burst:    func() burst { return port.Burst() },
		metrics:  m,
		patience: patience{silentAfter, consentFor},
		entrance: newEntrance(),
		named:    candidateNetworks{cfg.BlockedCandidates, cfg.AllowedCandidates},
		acceptor: accepted,
		tcp: pionice.NewTCPMuxDefault(pionice.TCPMuxParams{
			// Connections have queues for what is written to them.
			Listener:                     accepted,
			Logger:                       quiet{},
			ReadBufferSize:               tcpReadQueue,
			FirstStunBindTimeout:         tcpFirstPacket,
			AliveDurationForConnFromStun: tcpFirstPacket,
		}),
	}
	if n.settings, err = n.set(cfg, m); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// listen opens the same port number for TCP and UDP, in this order: sockets of
// UDP share a port with those of another process of the same user, and only
// that of TCP tells that a second node was started by mistake.
func listen(addr string, deps Deps) (*udp.Port, *net.TCPListener, error) {
	want, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, nil, fmt.Errorf("media: listen address: %w", err)
	}
	// A free TCP port may be taken for UDP, hence several attempts for port 0.
	for attempt := 0; ; attempt++ {
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(want))
		if err != nil {
			return nil, nil, fmt.Errorf("media: %w", err)
		}
		got := tcp.Addr().(*net.TCPAddr).AddrPort()
		port, err := udp.Listen(context.Background(), udp.Config{
			Address:    netip.AddrPortFrom(want.Addr(), got.Port()).String(),
			Sockets:    runtime.GOMAXPROCS(0),
			Logger:     deps.Logger,
			Registerer: deps.Registerer,
		})
		if err == nil {
			return port, tcp, nil
		}
		_ = tcp.Close()
		if want.Port() != 0 || attempt == 8 {
			return nil, nil, fmt.Errorf("media: %w", err)
		}
	}
}

func (n *network) set(cfg Config, m *metrics) (webrtc.SettingEngine, error) {
	var s webrtc.SettingEngine
	s.LoggerFactory = quiet{}
	s.SetICEUDPMux(n.udp)
	s.SetNetworkTypes([]webrtc.NetworkType{
		webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6,
	})
	s.SetICEMulticastDNSMode(pionice.MulticastDNSModeDisabled)
	// Nobody makes this node open TCP connections to addresses of their choice.
	s.DisableActiveTCP(true)
	s.SetICETimeouts(iceDisconnected, iceFailed, iceKeepalive)
	s.SetICEMaxBindingRequests(uint16(iceRequests))
	s.SetSrflxAcceptanceMinWait(0)
	s.SetPrflxAcceptanceMinWait(0)
	s.SetRelayAcceptanceMinWait(detourWait)
	listen := n.addr.Addr()
	s.SetIncludeLoopbackCandidate(listen.IsLoopback())
	if !listen.IsUnspecified() {
		s.SetIPFilter(func(ip net.IP) bool {
			a, ok := netip.AddrFromSlice(ip)
			return ok && a.Unmap() == listen
		})
	}
	if !listen.IsLoopback() {
		s.SetRemoteIPFilter(func(ip net.IP) bool { return !ip.IsLoopback() })
	}
	if len(cfg.Advertise) > 0 {
		err := s.SetICEAddressRewriteRules(webrtc.ICEAddressRewriteRule{
			External:        cfg.Advertise,
			AsCandidateType: webrtc.ICECandidateTypeHost,
			Mode:            webrtc.ICEAddressRewriteReplace,
		})
		if err != nil {
			return s, fmt.Errorf("media: advertised addresses: %w", err)
		}
	}
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleServer); err != nil {
		return s, fmt.Errorf("media: %w", err)
	}
	// That the client is where it says has been shown by ICE already: to ask for it
	// once more is a round trip for nothing.
	s.SetDTLSInsecureSkipHelloVerify(true)
	s.SetSRTPProtectionProfiles(profiles(cfg.RequireAES256)...)
	s.SetReceiveMTU(MaxPacket)
	s.SetSCTPMaxMessageSize(maxSCTPMessage)
	// Else the library waits for the first packet of each track, which it never sees.
	s.SetFireOnTrackBeforeFirstRTP(true)
	return s, nil
}

// profiles are the ways to protect media in the order by which a server picks.
// AES-CM is for clients without GCM; it costs several times as much for video.
func profiles(require256 bool) []piondtls.SRTPProtectionProfile {
	if require256 {
		return []piondtls.SRTPProtectionProfile{piondtls.SRTP_AEAD_AES_256_GCM}
	}
	return []piondtls.SRTPProtectionProfile{
		piondtls.SRTP_AEAD_AES_256_GCM, piondtls.SRTP_AEAD_AES_128_GCM, piondtls.SRTP_AES128_CM_HMAC_SHA1_80,
	}
}

// transit is how packets go by a connection, past the library.
type transit interface {
	// prepare takes its part in the settings of the connection.
	prepare(n *network, s *webrtc.SettingEngine)
	// enter waits for its turn to begin.
	enter(ctx context.Context, e *entrance) (leave func(), err error)
}

// connection makes a PeerConnection. All of a day share a certificate: making
// one costs more than the rest. None has interceptors: what these do is done
// here, for less. overflow is called, with locks of the library held, when the
// other side sends more streams than any client has.
func (n *network) connection(m *webrtc.MediaEngine, t transit, overflow func()) (*webrtc.PeerConnection, error) {
	cert, err := n.cert.get(certificateUse, newCertificate)
	if err != nil {
		return nil, err
	}
	// The library would list them for each connection, a twelfth of what one costs.
	addresses, err := n.addresses.get(interfacesUse, newInterfaces)
	if err != nil {
		return nil, err
	}
	settings := n.settings
	settings.SetNet(addresses)
	settings.BufferFactory = buffers(overflow)
	t.prepare(n, &settings)
	pc, err := webrtc.NewAPI(
		webrtc.WithMediaEngine(m),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{}),
		webrtc.WithSettingEngine(settings),
	).NewPeerConnection(webrtc.Configuration{
		Certificates: []webrtc.Certificate{*cert},
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
	})
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return pc, nil
}

// takeKeys lets h have the keys of a connection.
func (n *network) takeKeys(s *webrtc.SettingEngine, h *srtp.Handshake) {
	s.SetDTLSKeyLogWriter(h)
	s.SetDTLSServerHelloMessageHook(func(m handshake.MessageServerHello) handshake.Message {
		h.Hello(m)
		return n.metrics.hello(m)
	})
}

// flush sends what a burst has gathered.
func flush(b burst) {
	b.Flush() // what is lost, the socket counts
	b.Release()
}

// buffers bounds what a connection holds of packets that nobody has read yet.
// The library makes one for each SSRC that comes along, known or not, and keeps
// it until the end.
func buffers(overflow func()) func(packetio.BufferPacketType, uint32) io.ReadWriteCloser {
	var streams atomic.Int32
	return func(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
		b := packetio.NewBuffer()
		switch {
		case streams.Add(1) > maxStreams:
			b.SetLimitSize(1)
			overflow()
		case kind == packetio.RTCPBufferPacket:
			b.SetLimitSize(rtcpBuffer)
		default:
			b.SetLimitSize(rtpBuffer)
		}
		return b
	}
}

func newCertificate() (*webrtc.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("media: certificate: %w", err)
	}
	cert, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return nil, fmt.Errorf("media: certificate: %w", err)
	}
	return cert, nil
}

func newInterfaces() (transport.Net, error) {
	own, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("media: interfaces: %w", err)
	}
	return own, nil
}

// renewed is something that is made anew when it has been in use for a while.
type renewed[T any] struct {
	mu   sync.Mutex
	what T         // guarded by mu
	made time.Time // guarded by mu; zero: never
}

func (r *renewed[T]) get(use time.Duration, anew func() (T, error)) (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.made.IsZero() && time.Since(r.made) < use {
		return r.what, nil
	}
	what, err := anew()
	if err == nil {
		r.what, r.made = what, time.Now()
	}
	return what, err
}

// Close closes the sockets.
func (n *network) Close() error {
	return errors.Join(n.udp.Close(), n.tcp.Close())
}

// quiet takes the logs of the WebRTC library and keeps nothing: they are full of
// addresses, and what matters is told by its states and errors.
type quiet struct{}

func (quiet) NewLogger(string) pionlog.LeveledLogger { return quiet{} }

func (quiet) Trace(string)          {}
func (quiet) Tracef(string, ...any) {}
func (quiet) Debug(string)          {}
func (quiet) Debugf(string, ...any) {}
func (quiet) Info(string)           {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warn(string)           {}
func (quiet) Warnf(string, ...any)  {}
func (quiet) Error(string)          {}
func (quiet) Errorf(string, ...any) {}
