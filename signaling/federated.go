package signaling

import (
	"context"
	"errors"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/federation"
	"github.com/talkd/talkd/signaling/wire"
)

// A client may be in a room of another signaling server. Its edge then has a link to
// that server, on which the client is one of the sessions there (package federation).
// The link lives and dies with the session: if that goes on at another node, its client
// enters the room again, and the new edge makes the link.
//
// The other way round a federated session is one like any other, whose client is a
// server. It does not leave its node, and its backend is told that it is federated.

// federatedActor is who a participant of another Nextcloud is to the backend.
func federatedActor(userID string) backend.Actor {
	return backend.Actor{ID: userID, Type: wire.ActorFederated}
}

// enterFar takes the client to a room of another server. It stays where it is until
// it is let in there. What it says meanwhile waits, as with every room: it may be meant
// for the one or the other.
func (s *Session) enterFar(ctx context.Context, m *wire.ClientMessage) error {
	switch {
	case s.hub.cfg.NoFederation:
		return wire.ErrFederationOff
	case s.who.stays():
		return wire.ErrNotAllowed
	}
	seat := federation.Seat{
		Session: s.id, Features: s.who.features, Cloud: s.hub.urlOf(s.who.backend, s.who.via),
		Room: m.Room.RoomID, RoomSession: m.Room.SessionID, Far: *m.Room.Federation,
	}
	switch old := s.currentLink(); {
	case old.Serves(seat):
		return wire.AlreadyJoined(old.Room())
	case old.Takes(seat):
		// The other server ends the older of two, which is no end of this session. One that
		// is interrupted must not become the later one.
		s.mu.Lock()
		s.link = nil
		s.mu.Unlock()
		if old.Whole() {
			defer old.Close()
		} else {
			old.Close()
		}
	}
	link, err := s.hub.dialer.Join(ctx, seat)
	if err != nil {
		return err
	}
	s.leaveRoom()
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.link = link
	}
	s.mu.Unlock()
	if ended {
		link.Close()
	}
	room := link.Room()
	s.say(wire.ServerMessage{ID: m.ID, Type: wire.TypeRoom, Room: &room})
	s.hub.metrics.farRooms.Inc()
	s.hub.background(func() {
		defer s.hub.metrics.farRooms.Dec()
		why := wire.ErrFederationFailed // of a panic
		defer func() { s.unlink(link, why) }()
		defer s.hub.survive()
		why = link.Run(s.hub.ctx, &farClient{session: s})
	})
	return nil
}

// farClient is who a link is for.
type farClient struct {
	session *Session
	heard   rate
}

func (c *farClient) Hear(frame []byte) { c.session.send(frame) }

func (c *farClient) Owe(bytes int) time.Duration { return c.heard.owe(time.Now(), 1+bytes/rateBytes) }

func (c *farClient) Away() bool {
	c.session.mu.Lock()
	defer c.session.mu.Unlock()
	return c.session.conn == nil
}

func (s *Session) currentLink() *federation.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

// unlink tells the client that its link is given up, if it has not left it itself.
func (s *Session) unlink(link *federation.Link, why error) {
	s.mu.Lock()
	was := s.link == link
	if was {
		s.link = nil
	}
	s.mu.Unlock()
	switch {
	case !was || why == nil:
	case errors.Is(why, federation.ErrReplaced):
		s.end(wire.ByeRoomSession) // as if it had been replaced here
	default:
		s.hub.log.Debug("federation ended", keyError, logged(why))
		s.fail("", why)
	}
}

// relay hands what the client says to the server where its room is. It is false if
// that is here.
func (s *Session) relay(m *wire.ClientMessage, frame []byte) bool {
	link := s.currentLink()
	if link == nil {
		return false
	}
	switch m.Type {
	case wire.TypeMessage, wire.TypeControl, wire.TypeTransient:
		if err := link.Send(frame); err != nil {
			s.fail(m.ID, err)
		}
		return true
	}
	return false
}
