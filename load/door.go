package load

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/talkd/talkd/signaling/backend"
	"github.com/talkd/talkd/signaling/wire"
)

// Door is the slice of the Talk API that a guest of a public conversation
// needs, at any node. The guest has a token once there was a seat.
type Door struct {
	api   api
	token string // of the conversation
	name  string
}

// NewDoor is the door of a guest with a name to a conversation.
func NewDoor(conversation, name string) *Door {
	return &Door{api: newAPI(), token: conversation, name: name}
}

// Seat joins the conversation at a node: credentials for a hello, and under
// which id the backend knows the seat.
func (d *Door) Seat(ctx context.Context, node string) (Credentials, wire.RoomSessionID, error) {
	var joined struct {
		SessionID  wire.RoomSessionID `json:"sessionId"`
		GuestToken string             `json:"guestToken"`
	}
	room := roomPath + "/" + url.PathEscape(d.token)
	if err := d.api.call(ctx, http.MethodPost, node, room+"/participants/active", map[string]any{"displayName": d.name}, &joined); err != nil {
		return Credentials{}, "", err
	}
	if joined.GuestToken != "" {
		d.api.bearer = joined.GuestToken
	}
	s, err := d.settings(ctx, node, "redirect=0&")
	if err != nil {
		return Credentials{}, "", err
	}
	return Credentials{
		URL:    node + "/ocs/v2.php/apps/spreed/api/v3/signaling/backend",
		Params: s.HelloAuthParams[wire.Version],
	}, joined.SessionID, nil
}

// Home is the base URL of the node where the conversation's room is at home, as
// a node tells it whom the guest has had a seat of.
func (d *Door) Home(ctx context.Context, node string) (string, error) {
	s, err := d.settings(ctx, node, "")
	return s.Server, err
}

type settings struct {
	Server          string                     `json:"server"`
	HelloAuthParams map[string]json.RawMessage `json:"helloAuthParams"`
}

func (d *Door) settings(ctx context.Context, node, query string) (s settings, err error) {
	path := "/apps/spreed/api/v3/signaling/settings?" + query + "token=" + url.QueryEscape(d.token)
	return s, d.api.call(ctx, http.MethodGet, node, path, nil, &s)
}

// Call says that the seat is in the call, and what it sends.
func (d *Door) Call(ctx context.Context, node string, seat wire.RoomSessionID, what Sending) error {
	flags := backend.FlagInCall
	if what.has(Audio) {
		flags |= backend.FlagAudio
	}
	if what.has(Video) {
		flags |= backend.FlagVideo
	}
	return d.api.call(ctx, http.MethodPost, node, "/apps/spreed/api/v4/call/"+url.PathEscape(d.token), map[string]any{"flags": flags, "sessionId": seat}, nil)
}
