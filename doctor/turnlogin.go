package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/talkd/talkd/turn/client"
)

// allocate gets a relay address with the credentials that clients have.
func (l *turnLook) allocate(ctx context.Context, r reached) (client.Allocation, bool) {
	a, err := l.login(ctx, r.client, l.offer.Login)
	if err == nil {
		if a.Open {
			l.warning(CheckTURN, "it relays for everybody, without credentials", "let it want them (coturn: use-auth-secret), before strangers find it")
		}
		return a, true
	}
	var refused *client.Refusal
	switch {
	case errors.Is(err, client.ErrNoRealm):
		l.failed(CheckTURN, "it wants credentials and names no realm, so that no client can have any", "set its realm (coturn: realm=turn.example.org)")
	case errors.Is(err, client.ErrUnsigned):
		l.failed(CheckTURN, "it takes any credentials, but knows another secret: clients do not believe what it answers", sameSecret)
	case errors.As(err, &refused):
		text, do := l.explainRefusal(ctx, r.at, refused)
		l.failed(CheckTURN, text, do)
	default:
		l.failed(CheckTURN, "it answers STUN, but not who wants a relay address: "+err.Error(), "look into its log")
	}
	return client.Allocation{}, false
}

func (l *turnLook) login(ctx context.Context, c *client.Client, with Login) (client.Allocation, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	a, err := c.Allocate(ctx, with.Username, with.Password, false)
	var refused *client.Refusal
	if errors.As(err, &refused) && refused.Code == client.CodeFamily {
		return c.Allocate(ctx, with.Username, with.Password, true) // it has no IPv4
	}
	return a, err
}

const sameSecret = "enter the same secret on both sides: turn.secret here; there static-auth-secret, with use-auth-secret (coturn)"

// explainRefusal says what the code of RFC 8656 section 19 means here.
func (l *turnLook) explainRefusal(ctx context.Context, at netip.Addr, r *client.Refusal) (text, do string) {
	switch r.Code {
	case 400, client.CodeUnauthorized, client.CodeWrong: // 400 is what servers of Pion say
		if l.clockAhead(ctx, at) {
			return fmt.Sprintf("its clock is more than %v ahead of that of the node: credentials are too old when they are made", l.offer.TTL), "set the clocks of both machines by NTP"
		}
		return fmt.Sprintf("it refuses the credentials (%d): it has another secret, or none, or computes passwords for another realm than it names", r.Code), sameSecret
	case client.CodeForbidden:
		return "it gives nobody from here a relay address (403)", "look at who may use it (coturn: allowed-peer-ip, denied-peer-ip, and its log)"
	case client.CodeQuota:
		return "it gives no more relay addresses (486): its quota is used up", "raise it (coturn: user-quota, total-quota): each person in a call needs several, for each network and each way to the server"
	case client.CodeNoneLeft:
		return "it has no relay address left (508)", "give it more ports (coturn: min-port, max-port), or a relay address that this machine has (relay-ip)"
	case client.CodeTryAlternate:
		return "it sends clients to another server (300), which browsers do not follow", "name that server in turn.servers"
	}
	return fmt.Sprintf("it gives no relay address: %d (%s)", r.Code, r.Reason), "look into its log"
}

// clockAhead tells whether credentials that last longer are taken.
func (l *turnLook) clockAhead(ctx context.Context, at netip.Addr) bool {
	r, err := l.reach(ctx, at)
	if err != nil {
		return false
	}
	defer func() { _ = r.client.Close() }() // it was to learn one thing
	_, err = l.login(ctx, r.client, l.offer.Longer)
	return err == nil
}
