package signaling

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

const (
	// ticketLifetime is how long a redirect may take.
	ticketLifetime = 20 * time.Second
	// clockSkew is how far the clocks of two nodes may differ; with it a ticket
	// is looked at for no more than 30 s.
	clockSkew = 10 * time.Second
	// maxUsedTickets bounds what is remembered; beyond it tickets are refused.
	maxUsedTickets = 100_000
)

const (
	paramRedirect = "redirect"
	paramRoom     = "room"
)

// ticket moves one session to one node, for one room.
type ticket struct {
	Session store.SessionID `json:"s"`
	Key     []byte          `json:"k"` // of the session, which only its node knows
	From    store.NodeID    `json:"f"`
	To      store.NodeID    `json:"t"`
	Room    store.RoomID    `json:"r"`
	UserID  string          `json:"u,omitempty"`
	Warm    bool            `json:"w,omitempty"` // the session stays until its client says that it has moved
	Expires int64           `json:"e"`           // Unix time in ms
	Nonce   []byte          `json:"n"`
}

// elsewhere decides whether the client is to go to another node for the room,
// and makes its ticket. Nobody is redirected twice for one join.
func (s *Session) elsewhere(room store.RoomID) (wire.RedirectDetails, bool) {
	s.mu.Lock()
	stay := s.stay || s.arrived == room || s.who.stays()
	s.mu.Unlock()
	if stay || !slices.Contains(s.who.features, wire.ClientRedirect) {
		return wire.RedirectDetails{}, false
	}
	n, ok := s.hub.Elsewhere(room)
	if !ok {
		return wire.RedirectDetails{}, false
	}
	socket, ok := socketURL(n.URL)
	if !ok {
		return wire.RedirectDetails{}, false
	}
	sealed := s.ticketTo(n.ID, room, false)
	return wire.RedirectDetails{RoomID: room.Name, URL: socket, Ticket: sealed}, sealed != ""
}

// ticketTo is a ticket with which the client goes to another node, at once or when
// it says so. It is empty as long as the cluster has no secret.
func (s *Session) ticketTo(node store.NodeID, room store.RoomID, warm bool) string {
	t := ticket{
		Session: s.id,
		Key:     s.key[:],
		From:    s.hub.deps.Self,
		To:      node,
		Room:    room,
		UserID:  s.who.userID,
		Warm:    warm,
		Expires: time.Now().Add(ticketLifetime).UnixMilli(),
		Nonce:   make([]byte, 12),
	}
	_, _ = rand.Read(t.Nonce) // never fails since Go 1.24
	plain, err := json.Marshal(t)
	if err != nil {
		return ""
	}
	return s.hub.seals.tickets.Seal(plain)
}

// socketURL is the WebSocket of a node.
func socketURL(publicURL string) (string, bool) {
	u, err := url.Parse(publicURL)
	if err != nil || u.Host == "" {
		return "", false
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", false
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/spreed"
	return u.String(), true
}

// openTicket reads a ticket and tells whether it is good here, once.
func (h *Hub) openTicket(sealed string) (ticket, error) {
	plain, err := h.seals.tickets.Open(sealed)
	if err != nil {
		return ticket{}, fmt.Errorf("%w: %w", wire.ErrInvalidTicket, errSealed)
	}
	var t ticket
	if err := json.Unmarshal(plain, &t); err != nil {
		return ticket{}, fmt.Errorf("%w: %w", wire.ErrInvalidTicket, err)
	}
	now, expires := time.Now(), time.UnixMilli(t.Expires)
	switch {
	case t.From == h.deps.Self:
		return ticket{}, fmt.Errorf("%w: from here", wire.ErrInvalidTicket) // no node makes one for itself
	case t.To != h.deps.Self:
		return ticket{}, fmt.Errorf("%w: for another node", wire.ErrInvalidTicket)
	case now.After(expires.Add(clockSkew)):
		return ticket{}, fmt.Errorf("%w: ticket", wire.ErrTokenExpired)
	case !h.used.use(string(t.Nonce), expires.Add(clockSkew)):
		return ticket{}, fmt.Errorf("%w: used", wire.ErrInvalidTicket)
	}
	return t, nil
}

// arrive moves a session here that another node has sent.
func (h *Hub) arrive(ctx context.Context, c *conn, m *wire.ClientMessage) error {
	sealed, err := m.Hello.Auth.Ticket()
	if err != nil {
		return err
	}
	// Before the other node lets the session go, and the ticket is used.
	if err := h.roomFor(); err != nil {
		return err
	}
	t, err := h.openTicket(sealed)
	if err != nil {
		return err
	}
	if t.Warm {
		return h.warmUp(ctx, c, m, t)
	}
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	old, err := h.handover(ctx, t.From, &signalpb.HandoverRequest{Session: string(t.Session), Key: t.Key})
	if err != nil {
		return err
	}
	who, err := identityOf(t, old, m.Hello.Features)
	if err != nil {
		return err
	}
	s := h.newSession(t.Session, who, old.GetIncarnation()+1)
	s.arrived = t.Room
	h.metrics.moved.Inc()
	return h.start(c, m.ID, s, nil)
}

// forward says where a session went that began here.
type forward struct {
	to      store.NodeID
	expires time.Time
}

const (
	forwardLifetime = 12 * time.Hour
	maxForwards     = 100_000
)

// remember keeps in mind where a session went.
func (h *Hub) remember(id store.SessionID, to store.NodeID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.forwards) < maxForwards {
		h.forwards[id] = forward{to: to, expires: time.Now().Add(forwardLifetime)}
	}
}

// forwarded is where a session went, or empty.
func (h *Hub) forwarded(id store.SessionID) store.NodeID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.forwards[id].to
}

// giveAway ends a session here because it goes on at another node: its client
// hears a bye, and nobody else hears anything.
func (h *Hub) giveAway(to store.NodeID, id store.SessionID, key []byte) (*signalpb.HandoverReply, bool) {
	s := h.session(id)
	if s == nil || !s.hasKey(key) {
		return nil, false
	}
	s.finish(wire.ByeMessage("", wire.ByeMoved), true, 0)
	h.remember(id, to)
	return s.handoverReply(), true
}

// handoverReply is what another node needs to know of the session.
func (s *Session) handoverReply() *signalpb.HandoverReply {
	return &signalpb.HandoverReply{
		Outcome:     signalpb.Outcome_OUTCOME_OK,
		UserId:      s.who.userID,
		GuestId:     s.who.guestID,
		User:        s.who.user,
		Backend:     string(s.who.backend),
		Incarnation: s.incarnation,
		Features:    s.who.features,
		Via:         s.who.via,
	}
}

// socketElsewhere is where a WebSocket goes that names its room. Browsers, which
// send an Origin, do not follow; they are redirected on joining.
func (h *Hub) socketElsewhere(r *http.Request) (string, bool) {
	q := r.URL.Query()
	name := q.Get(paramRoom)
	if name == "" || q.Get(paramRedirect) == "0" || fromPage(r) {
		return "", false
	}
	room, err := store.ParseRoomID(name)
	if err != nil {
		return "", false
	}
	n, ok := h.Elsewhere(room)
	if !ok {
		return "", false
	}
	u, err := url.Parse(n.URL)
	if err != nil || u.Host == "" {
		return "", false
	}
	q.Set(paramRedirect, "0")
	u.Path = strings.TrimSuffix(u.Path, "/") + r.URL.Path
	u.RawQuery = q.Encode()
	return u.String(), true
}

// usedTickets remembers tickets until they expire.
type usedTickets struct {
	mu   sync.Mutex
	used map[string]time.Time // guarded by mu; by nonce: when it expires
}

func newUsedTickets() *usedTickets { return &usedTickets{used: make(map[string]time.Time)} }

func (u *usedTickets) use(nonce string, expires time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, used := u.used[nonce]; used || nonce == "" || len(u.used) >= maxUsedTickets {
		return false
	}
	u.used[nonce] = expires
	return true
}

func (u *usedTickets) expire(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for nonce, expires := range u.used {
		if now.After(expires) {
			delete(u.used, nonce)
		}
	}
}
