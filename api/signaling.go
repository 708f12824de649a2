package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/talkd/talkd/store"
	"github.com/talkd/talkd/turn"
)

// maxTicketParams bounds the params of a hello.
const maxTicketParams = 8 << 10

// helloParams go into the hello's auth.params as they are.
type helloParams struct {
	UserID string `json:"userid"`
	Ticket string `json:"ticket"`
}

type settingsData struct {
	SignalingMode   string                 `json:"signalingMode"`
	UserID          *string                `json:"userId"` // null for guests
	HideWarning     bool                   `json:"hideWarning"`
	Server          string                 `json:"server"`
	Ticket          string                 `json:"ticket"`
	HelloAuthParams map[string]helloParams `json:"helloAuthParams"`
	STUNServers     []iceServer            `json:"stunservers"`
	TURNServers     []iceServer            `json:"turnservers"`
	SIPDialinInfo   string                 `json:"sipDialinInfo"`
	Federation      *struct{}              `json:"federation"`
}

// iceServer goes into RTCConfiguration.iceServers as it is (W3C webrtc-pc section 4.2.4).
// Clients of long ago look for url.
type iceServer struct {
	URLs       []string `json:"urls"`
	URL        string   `json:"url"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

func iceServers(uris []turn.URI, username, credential string) []iceServer {
	list := make([]iceServer, len(uris))
	for i, u := range turn.Texts(uris) {
		list[i] = iceServer{[]string{u}, u, username, credential}
	}
	return list
}

// signalingSettings sends the client to the home of its conversation, with a
// ticket that says who it is. Media go straight to the nodes, or by the TURN servers that
// the operator has named: those relay for nobody who may enter no conversation.
func (s *Server) signalingSettings(ctx context.Context, r *request) (reply, error) {
	a := r.actor
	server := strings.TrimRight(s.servedAt(ctx), "/")
	if token := r.params["token"]; token != "" {
		v, err := s.seat(ctx, r.actor, token)
		if err != nil {
			return reply{}, err
		}
		a = v.actor
		if r.params["redirect"] != "0" {
			if home, ok := s.places.Elsewhere(store.RoomID{Backend: store.Embedded, Name: token}); ok {
				server = strings.TrimRight(home, "/")
			}
		}
	}
	hello := helloParams{}
	p := pass{kind: passTicket, issued: s.now(), guest: true, actor: a.id}
	d := settingsData{SignalingMode: "external", HideWarning: true, Server: server, STUNServers: iceServers(s.cfg.TURN.STUN, "", ""), TURNServers: []iceServer{}}
	if a.kind == store.ActorUsers {
		p.guest = false
		hello.UserID, d.UserID = a.id, &a.id
	}
	if a.kind != "" && s.cfg.TURN.Relay() {
		c, err := s.cfg.TURN.Credentials("", s.now()) // it need not know who that is
		if err != nil {
			return reply{}, err
		}
		d.TURNServers = iceServers(c.URIs, c.Username, c.Password)
	}
	ticket, err := s.seal(p)
	if err != nil {
		return reply{}, err
	}
	hello.Ticket, d.Ticket = ticket, ticket
	d.HelloAuthParams = map[string]helloParams{"1.0": hello}
	return reply{data: d}, nil
}

// Identity is who a ticket is for.
type Identity struct {
	UserID  string          // "" for a guest
	GuestID string          // "" for a user, and for a guest of no conversation yet
	User    json.RawMessage // shown to the others; nil for a guest
}

// AuthenticateTicket reads the auth.params of a hello. It returns ErrBadTicket
// or ErrTicketExpired.
func (s *Server) AuthenticateTicket(ctx context.Context, params json.RawMessage) (Identity, error) {
	if len(params) > maxTicketParams {
		return Identity{}, fmt.Errorf("%w: params of %d bytes", ErrBadTicket, len(params))
	}
	var h helloParams
	if err := json.Unmarshal(params, &h); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrBadTicket, err)
	}
	p, err := s.open(passTicket, h.Ticket, ticketLifetime)
	switch {
	case errors.Is(err, errPassExpired):
		return Identity{}, ErrTicketExpired
	case isBadPass(err):
		return Identity{}, fmt.Errorf("%w: %w", ErrBadTicket, err)
	case err != nil:
		return Identity{}, err
	}
	if p.guest {
		if h.UserID != "" {
			return Identity{}, fmt.Errorf("%w: of a guest", ErrBadTicket)
		}
		return Identity{GuestID: p.actor}, nil
	}
	if h.UserID != p.actor {
		return Identity{}, fmt.Errorf("%w: of another user", ErrBadTicket)
	}
	u, err := s.state.db.UserByName(ctx, p.actor)
	if errors.Is(err, store.ErrNotFound) {
		return Identity{}, fmt.Errorf("%w: account removed", ErrBadTicket)
	}
	if err != nil {
		return Identity{}, err
	}
	shown, err := shownName(u.DisplayName)
	return Identity{UserID: u.ID, User: shown}, err
}

// Entry is what somebody finds who is let into a room.
type Entry struct {
	Properties  json.RawMessage
	Permissions []string        // what signaling lets the session do
	Session     json.RawMessage // shown to the others
}

// AuthorizeJoin decides whether a session may enter a room: the session must
// be one that this user or guest got by joining the conversation, and the
// conversation must still be open to whoever that is. Otherwise it returns
// ErrNoRoom. Everybody in a room learns the sessions of the others, so to know
// one proves nothing.
func (s *Server) AuthorizeJoin(ctx context.Context, room string, who Identity, sessionID string) (Entry, error) {
	p, err := s.openSession(room, sessionID, false)
	if err != nil {
		if isBadPass(err) {
			err = fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		return Entry{}, err
	}
	a := actor{kind: store.ActorGuests, id: p.actor, name: p.name, room: room}
	if !p.guest {
		if p.actor != who.UserID {
			return Entry{}, fmt.Errorf("%w: session of another user", ErrNoRoom)
		}
		u, err := s.state.db.UserByName(ctx, p.actor)
		if errors.Is(err, store.ErrNotFound) {
			return Entry{}, fmt.Errorf("%w: account removed", ErrNoRoom)
		}
		if err != nil {
			return Entry{}, err
		}
		a = userActor(u)
	} else if who.UserID != "" || who.GuestID == "" || p.actor != who.GuestID {
		return Entry{}, fmt.Errorf("%w: session of a guest", ErrNoRoom)
	}
	v, err := s.seat(ctx, a, room)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Permissions: v.grants()}
	if e.Properties, err = properties(v.conversation); err != nil {
		return Entry{}, err
	}
	e.Session, err = shownName(a.name)
	return e, err
}

func shownName(name string) (json.RawMessage, error) {
	if name == "" {
		return nil, nil
	}
	return json.Marshal(struct {
		DisplayName string `json:"displayname"`
	}{name})
}
