package signaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// hello gives a connection its session: a new one, one that is taken up again,
// or one that moves here.
func (h *Hub) hello(ctx context.Context, c *conn, m *wire.ClientMessage) {
	throttled := !h.trusts(c.addr)
	guess, findable := h.guessOf(m.Hello)
	if throttled && findable && h.deps.Guesses.Wait(doorHello, guess, c.addr) > 0 {
		c.say(wire.ErrorReply(m.ID, wire.ErrTooManyRequests))
		c.close(websocket.StatusTryAgainLater)
		return
	}
	c.version = m.Hello.Version
	var err error
	switch {
	case m.Hello.ResumeID != "":
		err = h.resume(ctx, c, m)
	case m.Hello.Auth.Kind() == wire.AuthTicket:
		err = h.arrive(ctx, c, m)
	case m.Hello.Auth.Kind() == wire.AuthInternal:
		err = h.welcomeInternal(c, m)
	case m.Hello.Auth.Kind() == wire.AuthProbe:
		err = h.welcomeProbe(c, m)
	case m.Hello.Auth.Kind() == wire.AuthFederation && h.cfg.NoFederation:
		err = wire.ErrClientType
	case m.Hello.Auth.Kind() == wire.AuthClient, m.Hello.Auth.Kind() == wire.AuthFederation:
		err = h.welcomeClient(ctx, c, m)
	default:
		err = wire.ErrClientType
	}
	if err == nil {
		return
	}
	if throttled && guessed(err) {
		if h.deps.Guesses.Wait(doorHello, guess, c.addr) > 0 {
			defer c.close(websocket.StatusTryAgainLater) // the next try costs a connection
		}
		h.deps.Guesses.Wrong(doorHello, guess, c.addr)
	}
	h.metrics.hello(false)
	if m.Hello.ResumeID != "" {
		h.metrics.unresumed.Inc()
	}
	h.log.Debug("hello refused", keyError, logged(err))
	if m.Hello.Auth != nil {
		h.complaints.about(err, m.Hello.Auth.URL)
	}
	c.say(wire.ErrorReply(m.ID, err))
}

// doorHello is where hellos guess, as guesses.Hello has it.
const doorHello = "hello"

// guessOf is what a hello might guess: who tries one thing does not keep those out who
// come, from the same network, with another, or from another Nextcloud.
//
// It is findable if it is a secret that somebody has chosen, or that a Nextcloud has to
// be asked about. What this cluster has sealed, or a Nextcloud has signed, nobody finds by
// trying: who has that gets in also while somebody else of the network guesses.
func (h *Hub) guessOf(m *wire.Hello) (subject string, findable bool) {
	if m.ResumeID != "" {
		return "resume", false
	}
	kind := m.Auth.Kind()
	switch kind {
	case wire.AuthClient, wire.AuthFederation:
		if id, err := h.backendOf(m.Auth.URL); err == nil {
			return kind + " " + string(id), id != store.Embedded && m.Version != wire.Version2
		}
	case wire.AuthInternal:
		return kind, true
	case wire.AuthTicket, wire.AuthProbe:
	default:
		return "", false // refused whatever it says
	}
	return kind, false
}

// guessed tells whether a hello was refused for something that could be found by
// trying. A session that is gone or a ticket that is too old is not among it:
// when a node dies, all its clients come with those, perhaps from one address.
func guessed(err error) bool {
	return errors.Is(err, errSealed) || errors.Is(err, wire.ErrInvalidTicket) ||
		errors.Is(err, wire.ErrInvalidToken) || errors.Is(err, wire.ErrNoSuchUser)
}

// welcomeClient asks the backend who the client is.
func (h *Hub) welcomeClient(ctx context.Context, c *conn, m *wire.ClientMessage) error {
	id, err := h.backendOf(m.Hello.Auth.URL)
	if err != nil {
		return err
	}
	if err := h.mayTake(id); err != nil {
		return err
	}
	via := h.viaOf(id, m.Hello.Auth.URL)
	who, err := h.authenticate(ctx, id, via, m.Hello)
	if err != nil {
		return err
	}
	sid, err := h.seals.newSessionID(h.deps.Self)
	if err != nil {
		return err
	}
	s := h.newSession(sid, identity{
		backend: id, via: via, userID: who.UserID, guestID: who.GuestID, user: who.User, features: m.Hello.Features, since: time.Now(),
		federated: m.Hello.Auth.Kind() == wire.AuthFederation,
	}, 1)
	s.newcomer = true
	return h.start(c, m.ID, s, nil)
}

// authenticate asks the backend, or with hello 2.0 only whether it has signed.
func (h *Hub) authenticate(ctx context.Context, id store.BackendID, via string, hello *wire.Hello) (backend.AuthResponse, error) {
	switch {
	case id == store.Embedded && hello.Version != wire.Version:
		return backend.AuthResponse{}, fmt.Errorf("%w: by this backend", wire.ErrHelloVersion)
	case id == store.Embedded:
		// The backend client bounds itself; this may be asked of another node.
		ctx, cancel := context.WithTimeout(ctx, h.cfg.JoinTimeout)
		defer cancel()
		return h.deps.Embedded.Authenticate(ctx, hello.Auth.Params)
	case hello.Version == wire.Version2:
		token, err := hello.Auth.Token()
		if err != nil {
			return backend.AuthResponse{}, err
		}
		return h.deps.Backends.AuthenticateToken(ctx, id, via, token)
	}
	return h.deps.Backends.Authenticate(ctx, id, via, hello.Auth.Params)
}

// start puts a new session into the index and gives it to the connection. If it
// goes on with one of before, goOn says with what; that comes before the client
// hears anything.
func (h *Hub) start(c *conn, id string, s *Session, goOn func() *wire.Resumed) error {
	resume := h.resumeID(s)
	if resume == "" {
		h.background(s.desk.Close)
		return errNoSecret
	}
	s.replaces = c.lost
	if !s.attach(c) {
		return wire.ErrNoSuchSession
	}
	if err := h.add(s); err != nil {
		h.background(s.desk.Close)
		return err
	}
	h.metrics.hello(true)
	reply := h.helloReply(c, id, s, resume)
	if goOn != nil {
		reply.Hello.Resumed = goOn()
	}
	c.begin(s, reply)
	return nil
}

func (h *Hub) helloReply(c *conn, id string, s *Session, resume string) wire.ServerMessage {
	info := h.greets().info
	if s.who.internal {
		info.Features = append(slices.Clip(info.Features), wire.FeatureVirtualSessions)
	}
	return wire.ServerMessage{ID: id, Type: wire.TypeHello, Hello: &wire.HelloReply{
		Version:   c.version,
		SessionID: s.id,
		ResumeID:  resume,
		UserID:    s.who.userID,
		Server:    &info,
	}}
}

// backendOf finds out whom the URL of a hello means. That of any node is the
// embedded backend.
func (h *Hub) backendOf(authURL string) (store.BackendID, error) {
	if h.deps.Embedded != nil && h.ownOrigin(authURL) {
		return store.Embedded, nil
	}
	if h.deps.Backends == nil {
		return "", wire.ErrInvalidBackend
	}
	return h.deps.Backends.Resolve(authURL)
}

// viaOf is by which URL of a Nextcloud somebody has come, for the questions about them.
func (h *Hub) viaOf(of store.BackendID, url string) string {
	if of == store.Embedded {
		return ""
	}
	return h.deps.Registry.Via(url)
}
