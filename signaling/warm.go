package signaling

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/talkd/talkd/media"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// warmUp prepares a session here that lives at another node: its client, which
// has two sockets meanwhile, may publish and receive here, and nobody hears of it.
// The room speaks to it by the other socket. It ends when the client says that its
// move is done, and then the session is here; when the client says otherwise, cuts
// the socket or takes too long, nothing has happened.
func (h *Hub) warmUp(ctx context.Context, c *conn, m *wire.ClientMessage, t ticket) error {
	ctx, cancel := context.WithTimeout(ctx, rpcTimeout)
	defer cancel()
	lent, err := h.borrow(ctx, t)
	if err != nil {
		return err
	}
	who, err := identityOf(t, lent.GetSession(), m.Hello.Features)
	if err != nil {
		return err
	}
	s := h.newSession(t.Session, who, lent.GetSession().GetIncarnation()+1)
	copy(s.key[:], t.Key)
	if err := s.warmIn(ctx, t.Room, lent); err != nil {
		s.end("")
		return err
	}
	resume := h.resumeID(s)
	if resume == "" || !s.attach(c) {
		s.end("")
		return errNoSecret
	}
	h.metrics.hello(true)
	reply := h.helloReply(c, m.ID, s, resume)
	reply.Hello.Moving = true
	c.begin(s, reply)
	return nil
}

// identityOf is who the session belongs to, as its node says and the ticket
// proves.
func identityOf(t ticket, from *signalpb.HandoverReply, features []string) (identity, error) {
	if store.BackendID(from.GetBackend()) != t.Room.Backend || from.GetUserId() != t.UserID || len(t.Key) != len(sessionKey{}) {
		return identity{}, fmt.Errorf("%w: of somebody else", wire.ErrInvalidTicket)
	}
	if len(features) == 0 {
		features = from.GetFeatures()
	}
	return identity{
		backend:  t.Room.Backend,
		userID:   from.GetUserId(),
		via:      from.GetVia(),
		guestID:  from.GetGuestId(),
		user:     from.GetUser(),
		features: features,
		since:    time.Now(), // a node of the cluster vouches for it
	}, nil
}

// warmIn gives the session a seat in the room that nobody sees, as soon as this
// node knows of the room what the home knows.
func (s *Session) warmIn(ctx context.Context, id store.RoomID, lent *signalpb.WarmReply) error {
	if !s.hub.addWarm(s, time.Duration(lent.GetLeftMs())*time.Millisecond) {
		return wire.ErrSessionLimit
	}
	home, placed := s.hub.deps.Places.Lookup(id)
	if !placed {
		home = store.Home{Node: store.NodeID(lent.GetHome()), Epoch: lent.GetEpoch()} // not heard here yet
	}
	r, err := s.hub.openReplica(id, home)
	if err != nil {
		return err
	}
	st := &seat{replica: r, roomSession: wire.RoomSessionID(lent.GetRoomSession()), properties: lent.GetProperties()}
	if lent.GetHasPermissions() {
		st.permissions = append([]string{}, lent.GetPermissions()...)
	}
	s.desk.Enter(id.String())
	if !s.sit(st) {
		return errClosed
	}
	if !r.watch(s) {
		return ErrNotHome
	}
	return r.awaitMember(ctx, s.id)
}

// addWarm notes a session that warms up, until it is done or its time is over.
func (h *Hub) addWarm(s *Session, left time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.roomForLocked() != nil {
		return false
	}
	h.warm[s] = time.AfterFunc(min(left, moveTime), func() { h.tooLate(s) })
	s.warm.Store(true)
	return true
}

// tooLate ends a session that warms up, unless it is done in this moment.
func (h *Hub) tooLate(s *Session) {
	if h.removeWarm(s) {
		s.end("")
	}
}

// removeWarm is false if the session does not warm up any more.
func (h *Hub) removeWarm(s *Session) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	timer := h.warm[s]
	if timer == nil {
		return false
	}
	timer.Stop()
	delete(h.warm, s)
	s.warm.Store(false)
	return true
}

// move takes what a client says of its move: on the socket to the node that it
// goes to, or that it stays, on the one to the node that asked it.
func (s *Session) move(m *wire.ClientMessage) {
	done := m.Move.State == wire.MoveDone
	switch warm := s.warm.Load(); {
	case warm && done:
		s.completeMove(m)
	case warm:
		s.finish(moveMessage(m.ID, wire.MoveAbort, nil), true, 0)
	case done:
		s.fail(m.ID, fmt.Errorf("%w: no move is under way", wire.ErrNotAllowed))
	default:
		s.stayed()
		s.say(moveMessage(m.ID, wire.MoveAbort, nil))
	}
}

// completeMove is the moment when the session has moved.
func (s *Session) completeMove(m *wire.ClientMessage) {
	seat := s.currentSeat()
	if seat == nil || !s.hub.removeWarm(s) {
		s.fail(m.ID, wire.ErrNoSuchSession) // it has ended just now
		return
	}
	pubs := s.desk.Published()
	room := seat.replica.describe(seat)
	err := s.hub.add(s)
	if err == nil && !seat.replica.moveIn(s, seat, pubs, moveMessage(m.ID, wire.MoveDone, &room)) {
		err = wire.ErrNoSuchSession // left, thrown out, or gone on at yet another node
	}
	if err != nil {
		s.finish(wire.ErrorReply(m.ID, err), true, 0)
		return
	}
	// What was answered in between was announced by neither.
	for _, p := range s.desk.Published() {
		if !slices.ContainsFunc(pubs, func(known media.Publication) bool { return known.ID == p.ID }) {
			s.Announce(p)
		}
	}
	s.hub.metrics.move(moveDone, 1)
	s.hub.metrics.moved.Inc()
}

func moveMessage(id, state string, room *wire.Room) wire.ServerMessage {
	return wire.ServerMessage{ID: id, Type: wire.TypeMove, Move: &wire.Move{State: state, Room: room}}
}

// borrow asks the node that has a session for what is needed to prepare it here.
func (h *Hub) borrow(ctx context.Context, t ticket) (*signalpb.WarmReply, error) {
	client, err := h.client(t.From)
	if err != nil {
		return nil, err
	}
	reply, err := client.Warm(ctx, &signalpb.WarmRequest{Session: string(t.Session), Key: t.Key, Room: roomOf(t.Room)})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", wire.ErrNoSuchSession, err)
	case reply.GetSession().GetOutcome() != signalpb.Outcome_OUTCOME_OK:
		return nil, wire.ErrNoSuchSession
	}
	return reply, nil
}

// lend is the other end of borrow. From now on that node may have the media of
// the room, for as long as the move may take.
func (h *Hub) lend(to store.NodeID, room store.RoomID, id store.SessionID, key []byte) (*signalpb.WarmReply, bool) {
	s := h.session(id)
	if s == nil || !s.hasKey(key) {
		return nil, false
	}
	left, asked := s.departsTo(to)
	seat := s.currentSeat()
	if !asked || seat == nil || seat.replica.id != room {
		return nil, false
	}
	home := seat.replica.lend(id, to)
	return &signalpb.WarmReply{
		Session:     s.handoverReply(),
		Properties:  seat.properties,
		RoomSession: string(seat.roomSession),
		// nil restricts nothing, and an empty list everything.
		HasPermissions: seat.permissions != nil,
		Permissions:    seat.permissions,
		Home:           string(home.Node),
		Epoch:          home.Epoch,
		LeftMs:         left.Milliseconds(),
	}, true
}
