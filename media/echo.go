package media

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"

	"github.com/pion/rtcp"

	"github.com/talkd/talkd/media/srtp"
	"github.com/talkd/talkd/media/udp"
)

// maxRequests is how many requests of a subscriber wait until they are answered. Who
// asks more often asks again.
const maxRequests = 16

// echo is what comes back of a subscriber: RTCP about its tracks, past the
// library, in which four goroutines would hand on to each other what mostly says
// only that all is well. That ends here, with the goroutine of the socket; what
// asks for something goes to the one that attends to the connection. Where the
// keys are not at hand the library has it all, and downTrack.listen.
type echo struct {
	asked     chan request
	end       func()    // ends the connection
	recovered func(any) // is told of a panic
	dropped   func(int) // is told how many packets were asked for in vain, as too many requests wait

	mu     sync.Mutex
	port   *udp.Port    // guarded by mu, as all below
	ufrag  string       // of the connection by UDP
	opener *srtp.Opener // nil: not connected yet, or the library has it
	packet [MaxPacket]byte
}

// request is what a subscriber asks for about a track.
type request struct {
	ssrc uint32
	lost []uint16
	key  bool // a keyframe
}

// start takes from now on what comes.
func (e *echo) start(o *srtp.Opener) {
	e.mu.Lock()
	e.opener = o
	port, ufrag := e.port, e.ufrag
	e.mu.Unlock()
	if port != nil {
		port.Divert(ufrag, e)
	}
}

func (e *echo) taking() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.opener != nil
}

// Receive implements udp.Receiver.
func (e *echo) Receive(packets [][]byte) {
	defer func() {
		if v := recover(); v != nil {
			e.recovered(v)
			e.end()
		}
	}()
	for _, b := range packets {
		for _, r := range e.open(b) {
			select {
			case e.asked <- r:
			default:
				e.dropped(len(r.lost))
			}
		}
	}
}

// open returns what a packet asks for. What is forged, or no RTCP, asks for
// nothing.
func (e *echo) open(b []byte) []request {
	if !isRTCP(b) {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opener == nil {
		return nil
	}
	n, err := e.opener.OpenRTCP(e.packet[:], b)
	if errors.Is(err, srtp.ErrStreams) {
		// It would not be heard any more: better it comes anew.
		e.end()
		return nil
	}
	if err != nil || !asks(e.packet[:n]) {
		return nil
	}
	all, err := rtcp.Unmarshal(e.packet[:n])
	if err != nil {
		return nil
	}
	return requests(all)
}

// asks tells whether there may be a request among the packets (RFC 4585 6.1).
func asks(b []byte) bool {
	for len(b) >= 4 {
		if b[1] == byte(rtcp.TypeTransportSpecificFeedback) || b[1] == byte(rtcp.TypePayloadSpecificFeedback) {
			return true
		}
		b = b[min(len(b), 4*(1+int(binary.BigEndian.Uint16(b[2:])))):]
	}
	return false
}

func requests(packets []rtcp.Packet) (all []request) {
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.TransportLayerNack:
			all = append(all, request{ssrc: p.MediaSSRC, lost: appendLost(nil, p.Nacks)})
		case *rtcp.PictureLossIndication:
			all = append(all, request{ssrc: p.MediaSSRC, key: true})
		case *rtcp.FullIntraRequest:
			for _, f := range p.FIR {
				all = append(all, request{ssrc: f.SSRC, key: true})
			}
		}
	}
	return all
}

// answer does what was asked for.
func (s *Subscriber) answer(r request) {
	for _, sub := range s.subs {
		for _, d := range sub.tracks {
			if d.sends(r.ssrc) {
				d.answer(r)
			}
		}
	}
}

// echoUDP is the node's UDP port as one subscriber's connection sees it: it
// remembers by which name.
type echoUDP struct {
	*udp.Port
	e *echo
}

// GetConn implements ice.UDPMux.
func (u echoUDP) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	c, err := u.Port.GetConn(ufrag, addr)
	if err == nil {
		u.e.mu.Lock()
		u.e.port, u.e.ufrag = u.Port, ufrag
		u.e.mu.Unlock()
	}
	return c, err
}

// echoTCP is what comes by TCP, read by one goroutine.
type echoTCP struct {
	net.PacketConn
	e   *echo
	one [1][]byte
}

// ReadFrom returns what is not for the echo.
func (t *echoTCP) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := t.PacketConn.ReadFrom(b)
		if err != nil || !udp.IsMedia(b[:n]) || !t.e.taking() {
			return n, from, err
		}
		t.one[0] = b[:n]
		t.e.Receive(t.one[:])
	}
}
