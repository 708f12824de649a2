package signaling

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/internal/signalpb"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// An internal client is a service of the operator, such as a SIP bridge or a
// recorder. It proves that by a secret, and enters any room without a backend being
// asked. No backend tells whether it is in the call: it says so itself, of itself and
// of its virtual sessions (virtual.go).
//
// It stays where it is: it is neither redirected nor moved, and its session is not made
// anew at another node, as its virtual sessions would not be.

// What internal clients are taken to do unless they list ClientInternalInCall.
const (
	internalInCall = int32(backend.FlagInCall | backend.FlagAudio)
	virtualInCall  = int32(backend.FlagInCall | backend.FlagPhone)
)

// ownState is what a session of an internal client says of itself. The home is told
// again if it knows otherwise (replica_internal.go).
type ownState struct {
	inCall atomic.Int32
	flags  atomic.Uint32
}

// welcomeInternal lets a service in that knows the secret. The protocol has no
// challenge: whoever has heard such a hello could say it again, which TLS prevents.
func (h *Hub) welcomeInternal(c *conn, m *wire.ClientMessage) error {
	if h.cfg.InternalSecret == "" {
		return fmt.Errorf("%w: no secret for internal clients is configured", wire.ErrClientType)
	}
	auth, err := m.Hello.Auth.Internal()
	if err != nil {
		return err
	}
	if !backend.VerifyChecksum([]byte(h.cfg.InternalSecret), auth.Random, nil, auth.Token) {
		return fmt.Errorf("%w: of an internal client", wire.ErrInvalidToken)
	}
	of, err := h.backendOfInternal(auth.Backend)
	if err != nil {
		return err
	}
	sid, err := h.seals.newSessionID(h.deps.Self)
	if err != nil {
		return err
	}
	s := h.newSession(sid, identity{backend: of, via: h.viaOf(of, auth.Backend), internal: true, features: m.Hello.Features, since: time.Now()}, 1)
	if !s.rulesInCall() {
		s.own.inCall.Store(internalInCall)
	}
	return h.start(c, m.ID, s, nil)
}

// backendOfInternal is whose rooms the client enters. It may leave that out if there is
// one backend only.
func (h *Hub) backendOfInternal(url string) (store.BackendID, error) {
	switch {
	case url != "":
		return h.backendOf(url)
	case h.deps.Registry == nil || h.deps.Registry.Len() == 0:
		if h.deps.Embedded != nil {
			return store.Embedded, nil
		}
	case h.deps.Embedded == nil:
		if id, only := h.deps.Registry.Only(); only {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: there are several", wire.ErrInvalidBackend)
}

// rulesInCall tells whether the client sets all flags itself.
func (s *Session) rulesInCall() bool {
	return slices.Contains(s.who.features, wire.ClientInternalInCall)
}

// internal takes what only internal clients may say.
func (s *Session) internal(ctx context.Context, m *wire.ClientMessage) {
	if !s.who.internal {
		s.fail(m.ID, wire.ErrNotAllowed)
		return
	}
	switch said := m.Internal; said.Type {
	case wire.InternalInCall:
		s.own.inCall.Store(said.InCall.InCall)
		s.restate()
	case wire.InternalAdd:
		if err := s.addVirtual(m.ID, said.AddSession); err != nil {
			s.refuseVirtual(m.ID, err)
		}
	case wire.InternalUpdate:
		if v := s.virtualOf(said.UpdateSession.SessionID); v != nil {
			v.update(said.UpdateSession)
		}
	case wire.InternalDialout:
		s.dialled(ctx, m.ID, said.Dialout)
	case wire.InternalRemove:
		if v := s.virtualOf(said.RemoveSession.SessionID); v != nil {
			v.end("")
		}
	}
}

func (s *Session) refuseVirtual(message string, err error) {
	s.hub.log.Debug("virtual session refused", keyError, logged(err))
	s.fail(message, err)
}

// restate tells the room what the session says of itself.
func (s *Session) restate() {
	if seat := s.currentSeat(); seat != nil {
		seat.replica.restate(s.id)
	}
}

// statesItself tells whether no backend tells of a member but its internal client.
func statesItself(m *signalpb.Member) bool { return m.GetInternal() || m.GetVirtual() != nil }
