package load

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Way is an address of a node, as the media of a connection go there.
type Way struct {
	Protocol string // udp or tcp
	Address  string // with its port
}

func (w Way) String() string { return w.Address + " by " + strings.ToUpper(w.Protocol) }

// Unconnected tells what a node has offered, when no connection comes about.
type Unconnected struct {
	Offered []Way
	state   string
	cause   error
}

func (u *Unconnected) Error() string { return fmt.Sprintf("connecting: %s: %v", u.state, u.cause) }
func (u *Unconnected) Unwrap() error { return u.cause }

// unconnected is the error of a connection that did not come up.
func (p *peer) unconnected(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Unconnected{
		Offered: slices.Clone(p.offered), cause: cause,
		state: fmt.Sprintf("ICE %v, DTLS %v", p.pc.ICEConnectionState(), p.pc.SCTP().Transport().State()),
	}
}

// Way is how the media go once the connection is up.
func (p *peer) Way() (Way, bool) {
	pair, err := p.pc.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return Way{}, false
	}
	return Way{pair.Remote.Protocol.String(), net.JoinHostPort(pair.Remote.Address, strconv.Itoa(int(pair.Remote.Port)))}, true
}

// offers notes what a node offers: the candidates of a description, or one that came
// by itself.
func (p *peer) offers(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(text) {
		// foundation component protocol priority address port typ … (RFC 8839)
		_, value, found := strings.Cut(line, "candidate:")
		fields := strings.Fields(value)
		if !found || len(fields) < 6 || len(p.offered) == maxWaiting {
			continue
		}
		w := Way{strings.ToLower(fields[2]), net.JoinHostPort(fields[4], fields[5])}
		if !slices.Contains(p.offered, w) {
			p.offered = append(p.offered, w)
		}
	}
}
