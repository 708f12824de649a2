package signaling

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/federation"
	"github.com/talkd/talkd/signaling/mcu"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// identity is what the backend said of the client, and what the client said of
// itself.
type identity struct {
	backend  store.BackendID
	via      string // by which URL of the backend the client came; empty: its first
	userID   string
	guestID  string          // which guest it is, if the backend can tell
	user     json.RawMessage // shown to the others; nil for guests
	features []string
	since    time.Time // when the backend was asked
	internal bool      // no participant: a service that knows the secret
	// federated: the client is at another signaling server, which speaks for it.
	federated bool
}

// stays tells whether the session lives and dies with its node: who is at the other
// end does not follow it elsewhere.
func (w *identity) stays() bool { return w.internal || w.federated }

// sessionKey proves that a resume id or a ticket belongs to the session.
type sessionKey [16]byte

// Session is a client, whether its connection is up or not. Messages of the
// client are handled one after the other, by the reader of its connection.
type Session struct {
	hub  *Hub
	id   store.SessionID
	key  sessionKey
	who  identity
	desk *mcu.Desk
	turn sync.Mutex // held while a message of the client is handled
	back sync.Mutex // held while its client comes back: by one connection after the other
	rate rate       // guarded by turn
	// incarnation rises when the session goes on without its media.
	incarnation uint32
	// newcomer says that the session has been nowhere before, and counts for the limit of
	// its instance.
	newcomer bool
	// page says that the client, now or last, is a page in a browser.
	page atomic.Bool
	// warm says that the session lives at another node and is about to come here.
	warm atomic.Bool
	// as is set for a virtual session.
	as *virtual
	// own is what an internal client says of this session.
	own ownState

	mu          sync.Mutex
	conn        *conn            // guarded by mu; nil while the client is away
	queue       [][]byte         // guarded by mu; what the client has not been sent
	queuedBytes int              // guarded by mu
	mostQueued  int              // guarded by mu; what a client that reads stays below
	expiry      *time.Timer      // guarded by mu; set while the client is away
	seat        *seat            // guarded by mu; nil outside of rooms
	link        *federation.Link // guarded by mu; to a room at another server; nil: in none
	overflown   bool             // guarded by mu; too much waited while the client was away
	ended       bool             // guarded by mu
	arrived     store.RoomID     // guarded by mu; the room whose redirect led here, until it is joined
	stay        bool             // guarded by mu; the client asked not to be redirected
	replaces    store.SessionID  // guarded by mu; a lost session of the client
	departure   departure        // guarded by mu; where the client has been asked to go

	virtual  map[wire.VirtualID]*Session           // guarded by mu; of an internal client
	adding   adding                                // guarded by mu; among those
	dialouts map[string]chan<- *wire.DialoutAnswer // guarded by mu; by the id of the question
}

// seat is a session's place in a room. It is replaced when permissions or properties
// change.
type seat struct {
	replica     *replica
	roomSession wire.RoomSessionID
	properties  json.RawMessage
	permissions []string // nil: nothing is restricted; replaced, never changed
}

func (h *Hub) newSession(id store.SessionID, who identity, incarnation uint32) *Session {
	s := &Session{hub: h, id: id, who: who, incarnation: incarnation}
	_, _ = rand.Read(s.key[:]) // never fails since Go 1.24
	desk := mcu.Config{Session: id, Incarnation: incarnation, MaxBitrate: func(kind string) int { return h.maxBitrate(who.backend, kind) }}
	s.desk = mcu.NewDesk(desk, h.deps.Engine, s, s, h.log, h.mcuMetrics)
	return s
}

func (s *Session) hasKey(key []byte) bool {
	return subtle.ConstantTimeCompare(s.key[:], key) == 1
}

// currentSeat is where the session is, or nil.
func (s *Session) currentSeat() *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seat
}

// attach makes c the connection of the session. One that has come in between
// ends. It is false if the session has ended meanwhile.
func (s *Session) attach(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.overflown {
		return false
	}
	if s.conn != nil {
		s.conn.abandon() // of two that resume at once the second stays
	}
	if s.expiry != nil {
		s.expiry.Stop()
		s.expiry = nil
	}
	s.conn = c
	s.mostQueued = len(s.queue) + maxQueued // what waits already is no fault of the connection
	s.stay = c.stay
	s.page.Store(c.page)
	return true
}

// detach tells that a connection is gone. From then on the session waits for
// its client to come back.
func (s *Session) detach(c *conn) {
	if s.warm.Load() {
		s.end("") // it lives elsewhere
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != c || s.ended {
		return
	}
	s.conn = nil
	s.expiry = time.AfterFunc(s.hub.cfg.ResumeTimeout, func() { s.end("") })
}

// end is the end of the session. A client that is connected is told the
// reason, if there is one, and loses its connection.
func (s *Session) end(bye string) { s.finish(wire.ByeMessage("", bye), bye != "", 0) }

// finish is end with any last message. The media go on for as long as linger.
func (s *Session) finish(last wire.ServerMessage, tell bool, linger time.Duration) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	c, seat, queue, link := s.conn, s.seat, s.queue, s.link
	s.conn, s.seat, s.queue, s.link = nil, nil, nil, nil
	if s.expiry != nil {
		s.expiry.Stop()
	}
	s.mu.Unlock()

	s.endVirtual()
	link.Close()
	s.hub.remove(s)
	s.hub.removeWarm(s)
	if s.hub.moves.ended(s) {
		s.hub.metrics.move(moveFailed, 1)
	}
	if seat != nil {
		seat.replica.leave(s)
	}
	if c != nil {
		if tell {
			queue = append(queue, wire.Encode(last))
		}
		c.finish(queue)
	}
	s.hub.lingers(linger, 1)
	s.hub.background(func() {
		if linger > 0 {
			pause(s.hub.ctx, linger)
		}
		s.desk.Close()
		s.hub.lingers(linger, -1)
	})
}

// lingers counts sessions whose media go on when they have ended.
func (h *Hub) lingers(linger time.Duration, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if linger > 0 {
		h.lingering += n
	}
}

// allowed tells whether the session has one of the permissions in its room.
func (st *seat) allowed(permissions ...string) bool {
	if st.permissions == nil {
		return true
	}
	return slices.ContainsFunc(permissions, func(p string) bool { return slices.Contains(st.permissions, p) })
}

// permit sets new permissions, and ends what they do not cover any more. An empty
// list, which comes as none from another node, permits nothing.
func (s *Session) permit(permissions []string) {
	if permissions == nil {
		permissions = []string{}
	}
	s.mu.Lock()
	if s.seat == nil {
		s.mu.Unlock()
		return
	}
	now := *s.seat
	now.permissions = permissions
	s.seat = &now
	s.mu.Unlock()
	for _, p := range s.desk.Published() {
		if !now.mayPublish(p) {
			s.desk.Unpublish(p.ID.Kind)
		}
	}
}

// furnish tells the client that the properties of its room are others.
func (s *Session) furnish(of *replica, properties json.RawMessage) {
	s.mu.Lock()
	if s.seat == nil || s.seat.replica != of || sameJSON(s.seat.properties, properties) {
		s.mu.Unlock()
		return
	}
	now := *s.seat
	now.properties = properties
	s.seat = &now
	s.mu.Unlock()
	if !s.warm.Load() {
		room := of.describe(&now)
		s.say(wire.ServerMessage{Type: wire.TypeRoom, Room: &room})
	}
}

// sit puts the session into its seat; it is false if the session has ended.
func (s *Session) sit(st *seat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.seat = st
	return true
}

// leaveSeat takes the session out of its room without telling anybody.
func (s *Session) leaveSeat(of *replica) bool {
	s.mu.Lock()
	left := s.seat != nil && s.seat.replica == of
	if left {
		s.seat = nil
	}
	s.mu.Unlock()
	if left {
		s.desk.Reset()
	}
	return left
}

// Send is for the desk: what a connection has to say to the client.
func (s *Session) Send(sender store.SessionID, m wire.MediaMessage) {
	s.say(wire.DeliverMessage(wire.Sender{Type: wire.ToSession, SessionID: sender}, m.Encode()))
}

// Announce is for the desk: the client publishes.
func (s *Session) Announce(pub media.Publication) {
	if seat := s.currentSeat(); seat != nil {
		pub.Edge = s.hub.deps.Self
		seat.replica.announce(pub)
	}
	// While the offer was being answered permit did not see it yet.
	if seat := s.currentSeat(); seat != nil && !seat.mayPublish(pub) {
		s.desk.Unpublish(pub.ID.Kind)
	}
}

// Withdraw is for the desk: the client publishes no more.
func (s *Session) Withdraw(id media.PubID) {
	if seat := s.currentSeat(); seat != nil {
		seat.replica.withdraw(id)
	}
}

// Shed is for the desk: video is left out, or no longer.
func (s *Session) Shed(m wire.Shed) {
	if slices.Contains(s.who.features, wire.ClientShed) {
		s.say(wire.ShedEvent(m))
	}
}

// Await is for the desk: it waits for what another session publishes.
func (s *Session) Await(ctx context.Context, publisher store.SessionID, kind string) (media.Publication, error) {
	seat := s.currentSeat()
	if seat == nil {
		return media.Publication{}, wire.ErrNotAllowed
	}
	return seat.replica.await(ctx, s.id, publisher, kind)
}
