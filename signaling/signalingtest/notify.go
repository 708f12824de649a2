package signalingtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// Caller is an entry of the list that an instance sends when somebody joins or
// leaves a call.
type Caller struct {
	Session     wire.RoomSessionID
	UserID      string
	InCall      backend.Flags
	Permissions []string
}

// entry is the caller with the fields an instance sends.
func (c Caller) entry() map[string]any {
	e := map[string]any{
		"sessionId":       c.Session,
		"userId":          c.UserID,
		"inCall":          int(c.InCall),
		"participantType": 3,
		"lastPing":        1_700_000_000,
	}
	if c.UserID != "" {
		e["actorType"], e["actorId"] = "users", c.UserID
	} else {
		e["actorType"], e["actorId"] = "guests", "guest/"+string(c.Session)
	}
	if c.Permissions != nil {
		e["permissions"] = c.Permissions
	}
	return e
}

func entries(callers []Caller) []map[string]any {
	list := make([]map[string]any, len(callers))
	for i, c := range callers {
		list[i] = c.entry()
	}
	return list
}

// InCall tells a node who is in the call now.
func (n *Nextcloud) InCall(nodeURL, room string, callers ...Caller) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "incall", "incall": map[string]any{
		"incall": int(backend.FlagInCall), "changed": entries(callers), "users": entries(callers),
	}})
}

// InCallAll tells a node that all in the room have the same flags.
func (n *Nextcloud) InCallAll(nodeURL, room string, flags backend.Flags) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "incall", "incall": map[string]any{"incall": int(flags), "all": true}})
}

// Participants tells a node that participants changed.
func (n *Nextcloud) Participants(nodeURL, room string, callers ...Caller) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "participants", "participants": map[string]any{
		"changed": entries(callers), "users": entries(callers),
	}})
}

// Message says something to everybody in the room.
func (n *Nextcloud) Message(nodeURL, room string, data any) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "message", "message": map[string]any{"data": data}})
}

// Delete tells a node that the room is gone.
func (n *Nextcloud) Delete(nodeURL, room string, users ...string) {
	n.t.Helper()
	n.RemoveRoom(room)
	n.tell(nodeURL, room, map[string]any{"type": "delete", "delete": map[string]any{"userids": users}})
}

// Disinvite tells a node that users or sessions must go.
func (n *Nextcloud) Disinvite(nodeURL, room string, users []string, sessions []wire.RoomSessionID) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "disinvite", "disinvite": map[string]any{
		"userids": users, "sessionids": sessions,
	}})
}

// SwitchTo asks sessions to go to another room.
func (n *Nextcloud) SwitchTo(nodeURL, room, target string, sessions ...wire.RoomSessionID) {
	n.t.Helper()
	n.tell(nodeURL, room, map[string]any{"type": "switchto", "switchto": map[string]any{
		"roomid": target, "sessions": sessions,
	}})
}

func (n *Nextcloud) tell(nodeURL, room string, request any) {
	n.t.Helper()
	status, text := n.Post(nodeURL, room, encode(n.t, request))
	if status != http.StatusOK {
		n.t.Fatalf("backend request: status %d: %s", status, text)
	}
}

// Post sends a body with the right checksum.
func (n *Nextcloud) Post(nodeURL, room string, body []byte) (status int, text string) {
	n.t.Helper()
	h := http.Header{}
	backend.Sign(h, n.secret, n.server.URL+"/", body)
	return n.PostHeader(nodeURL, room, h, body)
}

// PostHeader sends a body with the given headers, right or wrong.
func (n *Nextcloud) PostHeader(nodeURL, room string, h http.Header, body []byte) (status int, text string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		strings.TrimSuffix(nodeURL, "/")+"/api/v1/room/"+room, bytes.NewReader(body))
	if err != nil {
		n.t.Fatalf("backend request: %v", err)
	}
	for name, values := range h {
		req.Header[name] = values
	}
	req.Header.Set("Content-Type", "application/json")
	// A client of its own, so that its connections end with the request.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		n.t.Fatalf("backend request: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		n.t.Fatalf("backend request: %v", err)
	}
	return resp.StatusCode, string(answer)
}
