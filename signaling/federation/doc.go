// Package federation takes a client to a room at another signaling server. To that
// server the client's edge is one more client, with a session of its own there:
//
//	client ─ws─ Session ──Send──> queue ─> writer ─┐  own id as there
//	                                               ├─wss─> the other server
//	client <─ws─ Session <──hear── Link.Run <──────┘  own id and room as here
//
// What the client says goes as it came, but for its own session id; what the other
// server says is taken apart and written anew (far.go), so that nothing of it is heard
// that is not about the room. Media are the business of the other server: offers and
// answers pass like all messages, and the client sends its media there.
//
// Whoever calls Run owns the link's goroutine; a writer is there as long as a
// connection is. When it breaks, the link takes up its session there again, or with
// the client's token begins another one; if neither works in time it is given up, and
// the client comes with another token.
//
// Clients say where to connect to, so that an address is looked at when it is dialled
// (dial.go).
package federation
