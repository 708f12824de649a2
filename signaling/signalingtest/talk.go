package signalingtest

import (
	"crypto/rand"
	"encoding/json"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
	"github.com/talkd/talkd/store"
)

// Welcome waits for the welcome of the server.
func (c *Client) Welcome() wire.ServerInfo {
	c.t.Helper()
	c.Server = *c.ExpectType(wire.TypeWelcome).Welcome
	return c.Server
}

// Hello says who the client is, as a client of an instance does, and fails the
// test if that is not believed.
func (c *Client) Hello(authURL string, params json.RawMessage, features ...string) *wire.HelloReply {
	c.t.Helper()
	return c.hello(wire.Hello{
		Version:  wire.Version,
		Features: features,
		Auth:     &wire.Auth{URL: authURL, Params: params},
	})
}

// HelloInternal proves that the client is a service that knows the secret, for the
// rooms of a backend.
func (c *Client) HelloInternal(secret, backendURL string, features ...string) *wire.HelloReply {
	c.t.Helper()
	random := rand.Text() + rand.Text()
	return c.hello(wire.Hello{
		Version:  wire.Version,
		Features: features,
		Auth: &wire.Auth{Type: wire.AuthInternal, Params: encode(c.t, wire.InternalAuth{
			Random: random, Token: backend.Checksum([]byte(secret), random, nil), Backend: backendURL,
		})},
	})
}

// Internal says what only internal clients may.
func (c *Client) Internal(m wire.Internal) {
	c.t.Helper()
	c.Send(wire.ClientMessage{Type: wire.TypeInternal, Internal: &m})
}

// HelloTicket moves a session here with the ticket of a redirect.
func (c *Client) HelloTicket(ticket string, features ...string) *wire.HelloReply {
	c.t.Helper()
	return c.hello(wire.Hello{
		Version:  wire.Version,
		Features: features,
		Auth:     &wire.Auth{Type: wire.AuthTicket, Params: encode(c.t, map[string]string{"ticket": ticket})},
	})
}

// ResumeSession takes a session up again.
func (c *Client) ResumeSession(resumeID string) *wire.HelloReply {
	c.t.Helper()
	return c.hello(wire.Hello{Version: wire.Version, ResumeID: resumeID})
}

func (c *Client) hello(h wire.Hello) *wire.HelloReply {
	c.t.Helper()
	answer := c.Ask(wire.ClientMessage{Type: wire.TypeHello, Hello: &h})
	if answer.Hello == nil {
		c.t.Fatalf("hello: %s", encode(c.t, answer))
	}
	c.Session, c.Resume = answer.Hello.SessionID, answer.Hello.ResumeID
	if answer.Hello.Server != nil {
		c.Server = *answer.Hello.Server
	}
	return answer.Hello
}

// Join enters a room and fails the test if it may not.
func (c *Client) Join(room string, session wire.RoomSessionID) *wire.Room {
	c.t.Helper()
	answer := c.AskJoin(room, session)
	if answer.Room == nil || answer.Room.RoomID != room {
		c.t.Fatalf("join %s: %s", room, encode(c.t, answer))
	}
	return answer.Room
}

// AskJoin asks to enter a room and returns whatever the answer is.
func (c *Client) AskJoin(room string, session wire.RoomSessionID) wire.ServerMessage {
	c.t.Helper()
	return c.Ask(wire.ClientMessage{Type: wire.TypeRoom, Room: &wire.JoinRoom{RoomID: room, SessionID: session}})
}

// Leave leaves the room.
func (c *Client) Leave() {
	c.t.Helper()
	answer := c.AskJoin("", "")
	if answer.Room == nil || answer.Room.RoomID != "" {
		c.t.Fatalf("leave: %s", encode(c.t, answer))
	}
}

// Say sends data to others.
func (c *Client) Say(to wire.Recipient, data any) {
	c.t.Helper()
	c.Send(wire.ClientMessage{Type: wire.TypeMessage, Message: &wire.Send{Recipient: to, Data: encode(c.t, data)}})
}

// Media sends data about media to a session: the own one to publish, that of a
// publisher to listen.
func (c *Client) Media(to store.SessionID, m wire.MediaMessage) {
	c.t.Helper()
	m.To = to
	c.Say(wire.Recipient{Type: wire.ToSession, SessionID: to}, m)
}

// Control sends a control message.
func (c *Client) Control(to wire.Recipient, data any) {
	c.t.Helper()
	c.Send(wire.ClientMessage{Type: wire.TypeControl, Control: &wire.Send{Recipient: to, Data: encode(c.t, data)}})
}

// Bye ends the session, and waits until the server says so.
func (c *Client) Bye() {
	c.t.Helper()
	c.Ask(wire.ClientMessage{Type: wire.TypeBye, Bye: &wire.Bye{}})
}
