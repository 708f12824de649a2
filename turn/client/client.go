// Package client speaks to a STUN or TURN server as clients of a call do (RFC 8489, RFC
// 8656), step by step, to see which step fails. It relays what a look needs and no media.
//
//	Bind                  who am I, seen from there?
//	Allocate              401 with realm and nonce ── again, signed ── a relay address
//	Permit                an address whose packets come through
//	Send, Receive         packets to others, and of others, by the relay address
//	Close                 gives the relay address back
//
// A Client is for one goroutine and starts none. What comes from the server is not
// trusted: all of it is bounded, and an answer counts if it is signed.
package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pion/stun/v4"
)

// Errors of this package. A server that refuses is a Refusal.
var (
	// ErrSilent: no answer came.
	ErrSilent = errors.New("no answer")
	// ErrClosed: the server has ended the connection.
	ErrClosed = errors.New("the server has ended the connection")
	// ErrMalformed: what came is none of STUN.
	ErrMalformed = errors.New("not an answer of a STUN server")
	// ErrUnsigned: an answer is not signed by the password, so the server does not know it.
	ErrUnsigned = errors.New("the answer is not signed by the password")
	// ErrNoRealm: the server asks for credentials and does not say for which realm.
	ErrNoRealm = errors.New("credentials are wanted, but no realm is named")
)

// Refusal is an error that the server has answered with.
type Refusal struct {
	Method string
	Code   int    // RFC 8489 section 14.8, RFC 8656 section 19
	Reason string // whatever it says
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %d %s", r.Method, r.Code, r.Reason) }

// Codes that are handled, or told apart.
const (
	CodeTryAlternate = 300
	CodeUnauthorized = 401
	CodeForbidden    = 403
	CodeStaleNonce   = 438
	CodeFamily       = 440 // the address family is not relayed
	CodeWrong        = 441 // credentials other than before
	CodeQuota        = 486
	CodeNoneLeft     = 508 // no relay address is left
)

const (
	maxReason         = 100 // runes
	maxNonce          = 763 // bytes, RFC 8489 sections 14.9 and 14.10
	maxTries          = 4   // of one request, with new nonces
	maxWaiting        = 16  // packets that came while something else was waited for
	relayLifetime     = 120 // seconds; less is not granted anyway
	protocolUDP       = 17
	familyIPv6        = 2
	firstRetransmit   = 500 * time.Millisecond // RFC 8489 section 6.2.1
	unboundedDeadline = 10 * time.Second       // without one in the context
)

// Client speaks to one server by one connection.
type Client struct {
	conn   net.Conn
	wire   wire
	stream bool

	username, password string
	realm              stun.Realm
	nonce              stun.Nonce
	key                stun.MessageIntegrity // nil before the server has named a realm

	waiting []packet
}

type packet struct {
	from netip.AddrPort
	data []byte
}

// New makes a Client of a connection, which it closes. By a stream, TCP or TLS, messages
// are not sent again.
func New(conn net.Conn, isStream bool) *Client {
	c := &Client{conn: conn, stream: isStream}
	if isStream {
		c.wire = newStream(conn)
	} else {
		c.wire = &packets{Conn: conn}
	}
	return c
}

// Bind asks as whom the server sees us.
func (c *Client) Bind(ctx context.Context) (netip.AddrPort, error) {
	m, err := c.ask(ctx, stun.MethodBinding)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return address(m, stun.AttrXORMappedAddress)
}

// Allocation is what the server relays by.
type Allocation struct {
	Relayed netip.AddrPort // others send to it, and see it
	Mapped  netip.AddrPort // as whom the server sees us
	Open    bool           // nobody was asked for credentials
}

// Allocate gets a relay address for UDP, of IPv6 or of what the server likes best.
func (c *Client) Allocate(ctx context.Context, username, password string, ipv6 bool) (Allocation, error) {
	c.username, c.password, c.key = username, password, nil
	setters := []stun.Setter{
		stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{protocolUDP, 0, 0, 0}},
		lifetime(relayLifetime),
	}
	if ipv6 {
		setters = append(setters, stun.RawAttribute{Type: stun.AttrRequestedAddressFamily, Value: []byte{familyIPv6, 0, 0, 0}})
	}
	m, err := c.ask(ctx, stun.MethodAllocate, setters...)
	if err != nil {
		return Allocation{}, err
	}
	a := Allocation{Open: c.key == nil}
	if a.Relayed, err = address(m, stun.AttrXORRelayedAddress); err != nil {
		return Allocation{}, err
	}
	a.Mapped, err = address(m, stun.AttrXORMappedAddress)
	return a, err
}

func lifetime(seconds uint32) stun.Setter {
	return stun.RawAttribute{Type: stun.AttrLifetime, Value: binary.BigEndian.AppendUint32(nil, seconds)}
}

// Permit lets packets of an address come through, whatever their port.
func (c *Client) Permit(ctx context.Context, from netip.Addr) error {
	_, err := c.ask(ctx, stun.MethodCreatePermission, peer{netip.AddrPortFrom(from, 0)})
	return err
}

// Send relays a packet. Nobody says whether it goes out.
func (c *Client) Send(to netip.AddrPort, data []byte) error {
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		peer{to}, stun.RawAttribute{Type: stun.AttrData, Value: data})
	if err != nil {
		return err
	}
	return c.wire.write(m.Raw)
}

// Receive waits for the next packet that was sent to the relay address.
func (c *Client) Receive(ctx context.Context) (from netip.AddrPort, data []byte, err error) {
	deadline := deadlineOf(ctx)
	for len(c.waiting) == 0 {
		m, err := c.wire.read(deadline)
		if err != nil {
			return netip.AddrPort{}, nil, broken(err)
		}
		c.keep(m)
	}
	p := c.waiting[0]
	c.waiting = c.waiting[1:]
	return p.from, p.data, nil
}

// closeTimeout is for an answer that changes nothing any more.
const closeTimeout = time.Second

// Close gives the relay address back, if there is one, and closes the connection.
func (c *Client) Close() error {
	if c.key != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_, _ = c.ask(ctx, stun.MethodRefresh, lifetime(0)) // it expires by itself
	}
	return c.conn.Close()
}

// ask sends a request and returns the answer. When the server wants credentials it is
// sent again with them; a nonce that is stale is replaced.
func (c *Client) ask(ctx context.Context, method stun.Method, setters ...stun.Setter) (*stun.Message, error) {
	for range maxTries {
		signed := c.key != nil
		m, err := c.exchange(ctx, method, setters)
		var refused *Refusal
		switch {
		case !errors.As(err, &refused):
			return m, err
		case refused.Code == CodeUnauthorized && !signed && method != stun.MethodBinding, refused.Code == CodeStaleNonce && signed:
			if err := c.challenged(m); err != nil {
				return nil, err
			}
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: a nonce is stale as soon as it is used", ErrMalformed)
}

// challenged takes realm and nonce of a refusal.
func (c *Client) challenged(m *stun.Message) error {
	var realm stun.Realm
	var nonce stun.Nonce
	if realm.GetFrom(m) != nil || nonce.GetFrom(m) != nil || len(realm) == 0 || len(nonce) == 0 {
		return ErrNoRealm
	}
	if len(realm) > maxNonce || len(nonce) > maxNonce {
		return fmt.Errorf("%w: a realm or nonce of more than %d bytes", ErrMalformed, maxNonce)
	}
	c.realm, c.nonce = realm, nonce
	c.key = stun.NewLongTermIntegrity(c.username, realm.String(), c.password)
	return nil
}

// signs tells whether requests are signed, and so their answers.
func (c *Client) signs(method stun.Method) bool { return c.key != nil && method != stun.MethodBinding }

// exchange sends a request, again and again by datagrams, until its answer is there. That
// comes also with a Refusal.
func (c *Client) exchange(ctx context.Context, method stun.Method, setters []stun.Setter) (*stun.Message, error) {
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)
	if c.signs(method) {
		all = append(all, stun.NewUsername(c.username), c.realm, c.nonce, c.key)
	}
	request, err := stun.Build(append(all, stun.Fingerprint)...)
	if err != nil {
		return nil, err
	}
	end := deadlineOf(ctx)
	for pause := firstRetransmit; ; pause *= 2 {
		if err := c.wire.write(request.Raw); err != nil {
			return nil, broken(err)
		}
		next := time.Now().Add(pause)
		if c.stream || next.After(end) {
			next = end
		}
		m, err := c.answer(request, next)
		if err == nil || !late(err) {
			return m, err
		}
		if !next.Before(end) {
			return nil, ErrSilent
		}
	}
}

// answer waits for the answer to a request.
func (c *Client) answer(request *stun.Message, deadline time.Time) (*stun.Message, error) {
	for {
		m, err := c.wire.read(deadline)
		switch {
		case late(err):
			return nil, err
		case err != nil:
			return nil, broken(err)
		case m.Type.Class == stun.ClassIndication:
			c.keep(m)
			continue
		case m.TransactionID != request.TransactionID || m.Type.Method != request.Type.Method:
			continue // of a request before
		}
		switch m.Type.Class {
		case stun.ClassSuccessResponse:
			if c.signs(m.Type.Method) && c.key.Check(m) != nil {
				return nil, ErrUnsigned
			}
			return m, nil
		case stun.ClassErrorResponse:
			var code stun.ErrorCodeAttribute
			if code.GetFrom(m) != nil {
				return nil, fmt.Errorf("%w: a refusal without a code", ErrMalformed)
			}
			return m, &Refusal{Method: request.Type.Method.String(), Code: int(code.Code), Reason: fmt.Sprintf("%.*s", maxReason, code.Reason)}
		}
	}
}

// keep keeps a packet for Receive, if it is one.
func (c *Client) keep(m *stun.Message) {
	if m.Type.Method != stun.MethodData || m.Type.Class != stun.ClassIndication || len(c.waiting) >= maxWaiting {
		return
	}
	from, err := address(m, stun.AttrXORPeerAddress)
	data, none := m.Get(stun.AttrData)
	if err == nil && none == nil {
		c.waiting = append(c.waiting, packet{from, data})
	}
}

// peer is an XOR-PEER-ADDRESS.
type peer struct{ netip.AddrPort }

func (p peer) AddTo(m *stun.Message) error {
	return stun.XORMappedAddress{IP: p.Addr().Unmap().AsSlice(), Port: int(p.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func address(m *stun.Message, attribute stun.AttrType) (netip.AddrPort, error) {
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, attribute); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: no %v in it", ErrMalformed, attribute)
	}
	a, ok := netip.AddrFromSlice(x.IP)
	if !ok || x.Port < 0 || x.Port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("%w: %v is no address", ErrMalformed, attribute)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(x.Port)), nil
}

func deadlineOf(ctx context.Context) time.Time {
	if ctx.Err() != nil {
		return time.Now()
	}
	if d, ok := ctx.Deadline(); ok {
		return d
	}
	return time.Now().Add(unboundedDeadline)
}

// broken is what is wrong with a connection.
func broken(err error) error {
	switch {
	case late(err):
		return ErrSilent
	case gone(err):
		return ErrClosed
	}
	return err
}
