package signaling

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// joinRetry is how soon a room is tried again whose home is changing.
const joinRetry = 50 * time.Millisecond

// joinRoom lets the client into a room, or out of the one it is in.
func (s *Session) joinRoom(ctx context.Context, m *wire.ClientMessage) {
	if m.Room.RoomID == "" {
		s.leaveRoom()
		s.say(wire.ServerMessage{ID: m.ID, Type: wire.TypeRoom, Room: &wire.Room{}})
		return
	}
	enter := s.enter
	if m.Room.Federation != nil {
		enter = s.enterFar
	}
	if err := enter(ctx, m); err != nil {
		s.hub.metrics.joined(err)
		s.hub.log.Debug("join refused", keyError, logged(err))
		s.fail(m.ID, err)
		return
	}
	s.hub.metrics.joined(nil)
}

func (s *Session) leaveRoom() {
	s.mu.Lock()
	seat, link := s.seat, s.link
	s.seat, s.link = nil, nil
	s.mu.Unlock()
	link.Close()
	if seat != nil {
		s.desk.Reset()
		seat.replica.leave(s)
	}
}

// enter asks the backend, decides whether another node serves the client
// better, and takes the session to the home of the room. The replica answers
// the client when the home has let it in.
func (s *Session) enter(ctx context.Context, m *wire.ClientMessage) error {
	id := store.RoomID{Backend: s.who.backend, Name: m.Room.RoomID}
	if err := id.Validate(); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrNoSuchRoom, err)
	}
	if s.who.internal {
		m.Room.SessionID = "" // the backend knows nothing of it
	}
	if seat := s.currentSeat(); seat != nil && seat.replica.id == id && seat.roomSession == m.Room.SessionID {
		return wire.AlreadyJoined(seat.replica.describe(seat))
	}
	var entry backend.RoomResponse
	if !s.who.internal {
		var err error
		request := backend.RoomRequest{Room: id, Via: s.who.via, UserID: s.who.userID, GuestID: s.who.guestID, SessionID: m.Room.SessionID}
		if s.who.federated {
			request.Actor = federatedActor(s.who.userID)
		}
		if entry, err = s.hub.authorize(ctx, request); err != nil {
			return err
		}
	}
	if d, ok := s.elsewhere(id); ok {
		s.hub.metrics.redirects.Inc()
		return wire.Redirect(d)
	}
	if err := s.admit(id); err != nil {
		return err
	}
	s.leaveRoom()

	member := &signalpb.Member{
		Session:     string(s.id),
		Edge:        string(s.hub.deps.Self),
		Incarnation: s.incarnation,
		UserId:      s.who.userID,
		User:        merge(s.who.user, entry.Session),
		RoomSession: string(m.Room.SessionID),
		Features:    s.who.features,
		Replaces:    string(s.replaced()),
		// For another node that goes on with the session.
		HasPermissions: entry.Permissions != nil,
		Permissions:    entry.Permissions,
		Federated:      s.who.federated,
		Via:            s.who.via,
	}
	if s.who.internal {
		member.Internal, member.InCall = true, s.own.inCall.Load()
		member.Public = ownEntry(member)
	}
	if err := s.takeSeat(ctx, id, m.ID, member, entry); err != nil {
		return err
	}
	s.mu.Lock()
	s.arrived, s.replaces = store.RoomID{}, ""
	s.mu.Unlock()
	return nil
}

// takeSeat takes the session to the home of the room, and tries again while that is
// changing. The message is what the client gets its answer for.
func (s *Session) takeSeat(ctx context.Context, id store.RoomID, message string, member *signalpb.Member, entry backend.RoomResponse) error {
	ctx, cancel := context.WithTimeout(ctx, s.hub.cfg.JoinTimeout)
	defer cancel()
	for {
		err := s.tryRoom(ctx, id, message, member, entry)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errClosed):
			return fmt.Errorf("%w: %w", detached(), err)
		case !errors.Is(err, ErrNotHome) && !errors.Is(err, errReleasing) && !errors.Is(err, errStale) && !errors.Is(err, ErrDetached):
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", detached(), err)
		case <-time.After(joinRetry):
		}
	}
}

// admit keeps people out before those who are in suffer. Who was sent here for
// the room is in already.
func (s *Session) admit(room store.RoomID) error {
	s.mu.Lock()
	arrived := s.arrived == room
	s.mu.Unlock()
	if arrived {
		return nil
	}
	return s.hub.deps.Places.Admit()
}

// tryRoom is one attempt. It is made again with the home that is found then.
func (s *Session) tryRoom(ctx context.Context, id store.RoomID, message string, member *signalpb.Member, entry backend.RoomResponse) error {
	home, err := s.hub.deps.Places.Place(ctx, id)
	if err != nil {
		s.hub.log.Debug("no home", keyRoom, id.String(), keyError, err)
		if errors.Is(err, ErrUndecided) {
			return fmt.Errorf("%w: %w", detached(), err)
		}
		return fmt.Errorf("%w: %w", ErrDetached, err)
	}
	r, err := s.hub.openReplica(id, home)
	if err != nil {
		return err
	}
	st := &seat{replica: r, roomSession: wire.RoomSessionID(member.GetRoomSession()), properties: entry.Properties, permissions: entry.Permissions}
	s.desk.Enter(id.String())
	p := &pendingJoin{session: s, seat: st, member: member, messageID: message, done: make(chan error, 1)}
	r.join(p)
	select {
	case err = <-p.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && r.giveUp(p) {
		return err
	}
	if c := s.unsent(); c != nil { // also if it worked in the last moment
		c.writeNow()
	}
	return nil
}

// replaced is a session of the client that will not come back.
func (s *Session) replaced() store.SessionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replaces
}

// authorize asks the backend whether the participant may enter.
func (h *Hub) authorize(ctx context.Context, r backend.RoomRequest) (backend.RoomResponse, error) {
	if r.Room.Backend == store.Embedded {
		if h.deps.Embedded == nil {
			return backend.RoomResponse{}, wire.ErrNoSuchRoom
		}
		ctx, cancel := context.WithTimeout(ctx, h.cfg.JoinTimeout)
		defer cancel()
		return h.deps.Embedded.JoinRoom(ctx, r)
	}
	if h.deps.Backends == nil {
		return backend.RoomResponse{}, wire.ErrNoSuchRoom
	}
	return h.deps.Backends.JoinRoom(ctx, r)
}

// Bounds of the questions that nobody waits for, for each backend: one that
// hangs must not hold up the others.
const (
	callbacksAtOnce = 16
	maxCallbacks    = 1024
)

// callbacks are such questions to one backend.
type callbacks struct {
	tokens  chan struct{} // one for each that is asked now
	n       int           // guarded by mu of the hub; those that wait, and are asked now
	leaving int           // guarded by mu of the hub; who left, and is told of when the backend answers
}

// callback asks a backend in the background. It is false if too many questions
// wait already.
func (h *Hub) callback(of store.BackendID, ask func(context.Context) error) bool {
	h.mu.Lock()
	c := h.callbacks[of]
	if c == nil {
		c = &callbacks{tokens: make(chan struct{}, callbacksAtOnce)}
		h.callbacks[of] = c
	}
	full := c.n >= maxCallbacks
	if !full {
		c.n++
	}
	h.mu.Unlock()
	if full {
		h.metrics.overflow("backend")
		return false
	}
	h.background(func() {
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			c.n--
		}()
		select {
		case c.tokens <- struct{}{}:
		case <-h.ctx.Done():
			return
		}
		defer func() { <-c.tokens }()
		if err := ask(h.ctx); err != nil {
			h.log.Debug("backend not told", keyError, logged(err))
		}
	})
	return true
}

// tellLeft tells the backend that somebody left the room.
func (h *Hub) tellLeft(room store.RoomID, m *signalpb.Member) {
	r := backend.RoomRequest{Room: room, Via: m.GetVia(), UserID: m.GetUserId(), SessionID: wire.RoomSessionID(m.GetRoomSession()), Actor: actorOf(m)}
	switch {
	case m.GetInternal(), m.GetVirtual() != nil && room.Backend == store.Embedded:
		// It has never been told that they came.
	case m.GetVirtual() != nil && r.Actor.ID == "" && h.deps.Backends != nil:
		h.callback(room.Backend, func(ctx context.Context) error { return h.deps.Backends.RemoveSession(ctx, sessionRequest(room, m)) })
	case room.Backend == store.Embedded && h.deps.Embedded != nil:
		h.callback(room.Backend, func(ctx context.Context) error { return h.deps.Embedded.LeaveRoom(ctx, r) })
	case room.Backend != store.Embedded && h.deps.Backends != nil:
		until := time.Now().Add(leavePatience)
		h.callback(room.Backend, func(ctx context.Context) error { return h.leaveBackend(ctx, r, until) })
	}
}
