package media

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	pionice "github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/talkd/talkd/media/srtp"
)

// burst gathers datagrams for many and gives them to the socket together.
type burst interface {
	// Room is where the next datagram is written, and Add takes its first bytes.
	Room(size int) []byte
	Add(to netip.AddrPort, n int)
	// Spill sends what there is if it is enough, and may wait for room; Add need not,
	// for a batch of a layer.
	Spill()
	// Flush tells how many were lost. TryFlush is false where that might wait, and
	// keeps what is left.
	Flush() int
	TryFlush() bool
	Release()
}

// egress is how packets leave by one subscriber's connection. Who seals is
// decided once, when it is established: this package whenever it has the keys,
// which is where this node was the DTLS server, else the library. Where the
// packets go follows the connection's pair of candidates.
//
//	downTrack ─▶ Sealer ─▶ burst ─▶ UDP socket
//	                  └──▶ TCP connection
//	downTrack ─▶ library (without keys)
type egress struct {
	keys   srtp.Handshake
	echo   echo
	tcp    tcpConns
	lost   prometheus.Counter // packets that found the queue of the TCP connection full
	to     atomic.Pointer[destination]
	once   sync.Once
	sealer *srtp.Sealer // set by once; nil: the library seals
}

// destination is the other side's address of the selected pair.
type destination struct {
	udp netip.AddrPort // invalid: by TCP
	tcp net.Addr
}

// prepare implements transit.
func (e *egress) prepare(n *network, s *webrtc.SettingEngine) {
	n.takeKeys(s, &e.keys)
	s.SetICEUDPMux(echoUDP{n.udp, &e.echo})
	e.tcp.TCPMux, e.tcp.hangUp, e.tcp.echo, e.tcp.detour = n.tcp, n.acceptor.hangUp, &e.echo, newDetour()
	s.SetICETCPMux(&e.tcp)
}

// enter implements transit.
func (*egress) enter(ctx context.Context, e *entrance) (func(), error) { return e.listener(ctx) }

// follow is told of the selected pair whenever it changes.
func (e *egress) follow(pair *webrtc.ICECandidatePair) { e.to.Store(destinationOf(pair)) }

func destinationOf(pair *webrtc.ICECandidatePair) *destination {
	if pair == nil || pair.Local == nil || pair.Remote == nil {
		return nil
	}
	ip, err := netip.ParseAddr(pair.Remote.Address)
	if err != nil {
		return nil
	}
	to := netip.AddrPortFrom(ip.Unmap(), pair.Remote.Port)
	if pair.Local.Protocol == webrtc.ICEProtocolTCP {
		return &destination{tcp: net.TCPAddrFromAddrPort(to)}
	}
	return &destination{udp: to}
}

// decide chooses who seals, when the connection is established for the first
// time.
func (e *egress) decide(ice *webrtc.ICETransport, m *metrics) {
	e.once.Do(func() {
		var opener *srtp.Opener
		e.sealer, opener, _ = e.keys.Both() // without keys there is neither
		m.path(e.sealer != nil)
		if opener != nil {
			e.echo.start(opener)
		}
		// What tells of changes runs on its own and may be late.
		if pair, err := ice.GetSelectedCandidatePair(); err == nil {
			e.to.CompareAndSwap(nil, destinationOf(pair))
		}
	})
}

// send takes the first n bytes of the burst's room, if there is a way for them.
func (e *egress) send(b burst, room []byte, n int) bool {
	to := e.to.Load()
	switch {
	case to == nil:
		return false
	case to.udp.IsValid():
		b.Add(to.udp, n)
		return true
	}
	if !e.tcp.write(room[:n], to.tcp) {
		e.lost.Inc()
		return false
	}
	return true
}

// tcpConns is the node's TCP mux as one connection sees it: it remembers what it
// was given, so as to write there.
type tcpConns struct {
	pionice.TCPMux
	hangUp func(net.Addr)
	echo   *echo
	detour *detour

	mu    sync.Mutex
	conns []net.PacketConn // guarded by mu; one for each local address
}

// GetConnByUfrag implements ice.TCPMux.
func (t *tcpConns) GetConnByUfrag(ufrag string, v6 bool, local net.IP) (net.PacketConn, error) {
	c, err := t.TCPMux.GetConnByUfrag(ufrag, v6, local)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = append(t.conns, c)
	return &echoTCP{PacketConn: &tcpClient{PacketConn: t.detour.hold(c), hangUp: t.hangUp}, e: t.echo}, nil
}

// write never blocks: a full queue drops.
func (t *tcpConns) write(b []byte, to net.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conns {
		if _, err := c.WriteTo(b, to); err == nil {
			return true
		}
	}
	return false
}
