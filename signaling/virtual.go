package signaling

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// A virtual session stands for somebody who has no client, such as on the phone. To the
// room it is a member like others; what is said to it goes to the internal client that
// has brought it, and it ends with that one's session.

// Bounds of the virtual sessions of one internal client, and of those of whom a backend
// is asked at one time: others have questions too.
const (
	maxVirtual   = 1000
	addingAtOnce = 16
)

// virtual is what a virtual session has beside a session.
type virtual struct {
	owner *Session
	name  wire.VirtualID
	actor backend.Actor
}

// addVirtual lets a virtual session into a room. The other messages of the client do not
// wait for a backend to agree; if it does not, the client hears of it.
func (s *Session) addVirtual(message string, a *wire.AddSession) error {
	room := store.RoomID{Backend: s.who.backend, Name: a.RoomID}
	if err := room.Validate(); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrNoSuchRoom, err)
	}
	v, err := s.newVirtual(a)
	if v == nil || err != nil {
		return err // nil: it is there already
	}
	s.hub.background(func() {
		defer s.doneAdding()
		select {
		case s.adding.turns <- struct{}{}:
		case <-s.hub.ctx.Done():
			return
		}
		defer func() { <-s.adding.turns }()
		if err := v.enterVirtual(s.hub.ctx, room); err != nil {
			v.end("")
			s.refuseVirtual(message, err)
		}
	})
	return nil
}

// adding are the virtual sessions of an internal client that are on their way in.
type adding struct {
	turns chan struct{} // one for each of whom a backend is asked now
	n     int
}

func (s *Session) doneAdding() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adding.n--
}

// newVirtual makes a virtual session that is on its way in.
func (s *Session) newVirtual(a *wire.AddSession) (*Session, error) {
	sid, err := s.hub.seals.newSessionID(s.hub.deps.Self)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
		return nil, wire.ErrNoSuchSession
	case s.virtual[a.SessionID] != nil:
		return nil, nil
	case len(s.virtual) >= maxVirtual, s.adding.n >= maxVirtual:
		return nil, wire.ErrSessionLimit
	}
	v := s.hub.newSession(sid, identity{backend: s.who.backend, via: s.who.via, userID: a.UserID, user: a.User, since: time.Now()}, 1)
	v.as = &virtual{owner: s, name: a.SessionID}
	if o := a.Options; o != nil && o.ActorID != "" && o.ActorType != "" {
		v.as.actor = backend.Actor{ID: o.ActorID, Type: o.ActorType}
	}
	switch {
	case a.InCall != nil:
		v.own.inCall.Store(*a.InCall)
	case !s.rulesInCall():
		v.own.inCall.Store(virtualInCall)
	}
	v.own.flags.Store(a.Flags)
	if s.virtual == nil {
		s.virtual = make(map[wire.VirtualID]*Session)
		s.adding.turns = make(chan struct{}, addingAtOnce)
	}
	s.virtual[a.SessionID] = v
	s.adding.n++
	return v, nil
}

// enterVirtual tells the backend of the session, and takes it to the home of the room.
func (v *Session) enterVirtual(ctx context.Context, room store.RoomID) error {
	m := &signalpb.Member{
		Session: string(v.id),
		Edge:    string(v.hub.deps.Self),
		UserId:  v.who.userID,
		User:    v.who.user,
		InCall:  v.own.inCall.Load(),
		Virtual: &signalpb.Virtual{
			Owner:   string(v.as.owner.id),
			Flags:   v.own.flags.Load(),
			ActorId: v.as.actor.ID, ActorType: v.as.actor.Type,
		},
		Incarnation: v.incarnation,
		Via:         v.who.via,
	}
	if v.as.actor.ID != "" {
		m.RoomSession = string(v.id) // the backend knows it by this
	}
	m.Public = ownEntry(m)
	if v.over() {
		return nil // its client has taken it back meanwhile
	}
	if err := v.hub.tellVirtual(ctx, room, m); err != nil {
		return err
	}
	if v.over() {
		v.hub.tellLeft(room, m)
		return nil
	}
	if err := v.takeSeat(ctx, room, "", m, backend.RoomResponse{}); err != nil {
		v.hub.tellLeft(room, m)
		return err
	}
	if v.own.inCall.Load() != m.GetInCall() || v.own.flags.Load() != m.GetVirtual().GetFlags() {
		v.restate() // its client has said so when it was on its way
	}
	return nil
}

func (v *Session) over() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.ended
}

// tellVirtual tells the backend that a virtual session enters a room.
func (h *Hub) tellVirtual(ctx context.Context, room store.RoomID, m *signalpb.Member) error {
	if room.Backend == store.Embedded || h.deps.Backends == nil {
		return nil // it knows nothing of them
	}
	if actor := actorOf(m); actor.ID != "" {
		flags := backend.Flags(m.GetInCall())
		_, err := h.deps.Backends.JoinRoom(ctx, backend.RoomRequest{
			Room: room, Via: m.GetVia(), UserID: m.GetUserId(), SessionID: wire.RoomSessionID(m.GetRoomSession()), Actor: actor, InCall: &flags,
		})
		return err
	}
	return h.deps.Backends.AddSession(ctx, sessionRequest(room, m))
}

func actorOf(m *signalpb.Member) backend.Actor {
	if m.GetFederated() {
		return federatedActor(m.GetUserId())
	}
	return backend.Actor{ID: m.GetVirtual().GetActorId(), Type: m.GetVirtual().GetActorType()}
}

func sessionRequest(room store.RoomID, m *signalpb.Member) backend.SessionRequest {
	return backend.SessionRequest{Room: room, Via: m.GetVia(), SessionID: store.SessionID(m.GetSession()), UserID: m.GetUserId(), User: m.GetUser()}
}

// ownEntry is the entry of participants/update for a member of whom no backend tells. A
// list in which an entry lacks lastPing is nothing to Talk's app for Android.
func ownEntry(m *signalpb.Member) []byte {
	entry := map[string]any{"sessionId": m.GetSession(), "inCall": m.GetInCall(), "lastPing": time.Now().Unix()}
	if v := m.GetVirtual(); v == nil {
		entry["internal"] = true
	} else {
		entry["virtual"] = true
		for name, value := range map[string]string{"userId": m.GetUserId(), "actorId": v.GetActorId(), "actorType": v.GetActorType()} {
			if value != "" {
				entry[name] = value
			}
		}
	}
	raw, err := json.Marshal(entry)
	if err != nil {
		return nil // texts, a number and a truth can always be written
	}
	return raw
}

func (s *Session) virtualOf(name wire.VirtualID) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.virtual[name]
}

func (v *Session) update(u *wire.UpdateSession) {
	if u.Flags != nil {
		v.own.flags.Store(*u.Flags)
	}
	if u.InCall != nil {
		v.own.inCall.Store(*u.InCall)
	}
	v.restate()
}

// hangup is what an internal client hears when one of its virtual sessions was thrown
// out of its room.
var hangup = json.RawMessage(`{"type":"hangup"}`)

// hangUp ends a virtual session that was thrown out.
func (v *Session) hangUp() {
	v.as.owner.say(v.toOwner(&signalpb.Say{To: wire.ToRoom, Control: true, Data: hangup}))
	v.end("")
}

// hears hands what somebody says to the session to its client: for a virtual one that
// of its owner, which is told whom it is for.
func (s *Session) hears(say *signalpb.Say) {
	if s.as != nil {
		s.as.owner.say(s.toOwner(say))
		return
	}
	s.send(sayFrame(say))
}

func (v *Session) toOwner(say *signalpb.Say) wire.ServerMessage {
	sender := wire.Sender{Type: say.GetTo(), SessionID: store.SessionID(say.GetSession()), UserID: say.GetUserId()}
	d := &wire.Deliver{
		Sender:    sender,
		Recipient: &wire.Recipient{Type: wire.ToSession, SessionID: store.SessionID(v.as.name)},
		Data:      say.GetData(),
	}
	if say.GetControl() {
		return wire.ServerMessage{Type: wire.TypeControl, Control: d}
	}
	return wire.ServerMessage{Type: wire.TypeMessage, Message: d}
}

// endVirtual ends what ends with a session: its virtual ones.
func (s *Session) endVirtual() {
	if s.as != nil {
		s.as.owner.forgetVirtual(s)
		return
	}
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.virtual))
	s.mu.Unlock()
	for _, v := range all {
		v.end("")
	}
}

func (s *Session) forgetVirtual(v *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.virtual[v.as.name] == v {
		delete(s.virtual, v.as.name)
	}
}
