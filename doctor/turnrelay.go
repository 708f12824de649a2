package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/talkd/talkd/turn"
	"github.com/talkd/talkd/turn/client"
)

const (
	relayTimeout = 3 * time.Second        // for a packet by the relay
	relayEvery   = 300 * time.Millisecond // it is sent again
)

// relay sends a packet to the relay address as others in a call do, and one back. What does
// not come back is sent from the relay address to itself: that shows which half is broken.
func (l *turnLook) relay(ctx context.Context, c *client.Client, a client.Allocation) {
	where := a.Relayed.String()
	took, err := l.byRelay(ctx, c, a)
	if err == nil {
		l.ok(CheckTURN, fmt.Sprintf("it relays: a packet to %s and back took %v", where, took.Round(100*time.Microsecond)))
		return
	}
	var refused *client.Refusal
	itself := l.toItself(ctx, c, a)
	switch {
	case errors.Is(err, errFamily) && itself == nil:
		l.ok(CheckTURN, "it relays: a packet from "+where+" to itself came back; this machine cannot send there, as the server sees it by IPv6")
	case errors.As(err, &refused) && itself == nil:
		text := fmt.Sprintf("it relays, but not to %v, as whom it sees this machine (%d)", a.Mapped.Addr(), refused.Code)
		do := "well if no node and nobody in a call has such an address; else allow it there (coturn: allowed-peer-ip, allow-loopback-peers)"
		l.warning(CheckTURN, text, do)
	case errors.As(err, &refused):
		l.failed(CheckTURN, fmt.Sprintf("it gives relay addresses, but relays to nobody: neither to %v, as whom it sees this machine (%d), nor to itself", a.Mapped.Addr(), refused.Code),
			"allow the addresses of nodes and people there (coturn: allowed-peer-ip, denied-peer-ip)")
	case itself == nil && (a.Relayed.Addr().IsPrivate() && !a.Mapped.Addr().IsPrivate()):
		l.failed(CheckTURN, "it relays, but names a private relay address, "+where+", that nobody outside reaches", "tell it its public address (coturn: external-ip)")
	case itself == nil && l.uri.Transport != turn.UDP:
		l.warning(CheckTURN, "it relays, but this machine does not reach the relay address "+where+" by UDP",
			"well if this network lets no UDP out; else open the ports of relay addresses there for UDP (coturn: min-port to max-port)")
	case itself == nil:
		l.failed(CheckTURN, "it relays, but nobody reaches the relay address "+where, "open the ports of relay addresses for UDP in its firewall (coturn: min-port to max-port)")
	default:
		l.failed(CheckTURN, "it gives the relay address "+where+", but nothing that is sent there arrives",
			"let it use an address that its machine has (coturn: relay-ip), behind NAT with the public one in external-ip, and open the ports of relay addresses for UDP (min-port to max-port)")
	}
}

var (
	errLost   = errors.New("lost")
	errFamily = errors.New("another address family")
)

// byRelay sends a packet from another socket to the relay address, and back.
func (l *turnLook) byRelay(ctx context.Context, c *client.Client, a client.Allocation) (time.Duration, error) {
	if a.Mapped.Addr().Is4() != a.Relayed.Addr().Is4() {
		return 0, errFamily
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := c.Permit(ctx, a.Mapped.Addr()); err != nil {
		return 0, err
	}
	other, err := (&net.Dialer{}).DialContext(ctx, "udp", a.Relayed.String())
	if err != nil {
		return 0, err
	}
	defer func() { _ = other.Close() }() // of UDP
	token := []byte(rand.Text())
	begun := time.Now()
	from, err := l.await(ctx, c, token, func() error {
		begun = time.Now()
		_, err := other.Write(token)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := c.Send(from, token); err != nil {
		return 0, err
	}
	got := make([]byte, 2*len(token))
	if err := other.SetReadDeadline(time.Now().Add(relayTimeout)); err != nil {
		return 0, err
	}
	for {
		n, err := other.Read(got)
		if err != nil {
			return 0, err
		}
		if bytes.Equal(got[:n], token) {
			return time.Since(begun), nil
		}
	}
}

// toItself sends a packet from the relay address to itself.
func (l *turnLook) toItself(ctx context.Context, c *client.Client, a client.Allocation) error {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if err := c.Permit(ctx, a.Relayed.Addr()); err != nil {
		return err
	}
	token := []byte(rand.Text())
	_, err := l.await(ctx, c, token, func() error { return c.Send(a.Relayed, token) })
	return err
}

// await sends until the token has come by the relay, and says from where.
func (l *turnLook) await(ctx context.Context, c *client.Client, token []byte, send func() error) (netip.AddrPort, error) {
	for ctx.Err() == nil {
		if err := send(); err != nil {
			return netip.AddrPort{}, err
		}
		again, cancel := context.WithTimeout(ctx, relayEvery)
		for {
			from, data, err := c.Receive(again)
			if err == nil && bytes.Equal(data, token) {
				cancel()
				return from, nil
			}
			if errors.Is(err, client.ErrSilent) {
				break
			}
			if err != nil {
				cancel()
				return netip.AddrPort{}, err
			}
		}
		cancel()
	}
	return netip.AddrPort{}, errLost
}
